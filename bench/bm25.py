"""BM25 as it was (`bm25s.tokenize` with English stop words), as it is, and over bare pairs of characters: nDCG@10 on real and on made sets, and the speed of cutting

Real sets are the development data beside the repository; one that is missing is said to be. The made ones are questions and
instructions put together from the word lists below, in five languages, each passage with a sentence about another thing."""
import json, random, time
from pathlib import Path
from statistics import fmean
import bm25s
from arguments import known, parser
from embed_lab.data.metrics import per_query
from embed_lab.data.task import Task
from embed_lab.data.texts import normalised

data = Path(__file__).resolve().parents[2]/'shared'/'data'
real = 'nl2bash', 'medquad', 'pquad_fa', 'xquad_es', 'xquad_en', 'banking77', 'oewn'

# Language → things that are asked about, things beside them with the same characters, actions as (in a question, in an instruction),
# questions, instructions, and remarks about another thing
made = dict(
    zh=('路由器 打印机 打字机 照相机 洗衣机 洗碗机 电视机 电话机 发动机 热水器 加湿器 充电器'.split(), '打火机 路由表 印刷机 洗脸盆 电动机 水龙头'.split(),
        [(o, o) for o in '重置 清洁 修理 更换 测量 安装 拆卸 搬运 调整'.split()],
        ('怎样{v}我的{n}？', '请问{n}应该怎么{v}？', '我想{v}{n}，第一步做什么？'),
        ('要{v}{n}，先打开前面的面板，然后小心地进行。', '{v}{n}的时候请戴上手套，并按照说明书操作。', '如果需要{v}{n}，请先切断电源。'),
        ('说明书里也有{n}的一章。', '{n}放在旁边的架子上。')),
    ja=('ルーター プリンター スキャナー 洗濯機 食洗機 掃除機 電話機 扇風機 加湿器 充電器 給湯器 炊飯器'.split(), '洗面器 電動機 加熱器 ルーペ プリン 充填機'.split(),
        [(o, o) for o in 'リセット 掃除 修理 交換 測定 設置 分解 運搬 調整'.split()],
        ('私の{n}を{v}するにはどうすればよいですか？', '{n}の{v}の方法を教えてください。', '{n}を{v}したいのですが、最初に何をしますか？'),
        ('{n}を{v}する場合は、まず前面のパネルを開けてください。', '{n}の{v}は、必ず手袋をはめて行います。', '{n}を{v}する前に、電源を切ってください。'),
        ('説明書には{n}の章もあります。', '{n}は隣の棚に置いてあります。')),
    th=('เราเตอร์ เครื่องพิมพ์ เครื่องซักผ้า เครื่องล้างจาน เครื่องดูดฝุ่น เครื่องปรับอากาศ โทรทัศน์ โทรศัพท์ พัดลม หม้อหุงข้าว เครื่องชาร์จ กล้องถ่ายรูป'.split(),
        'เครื่องอบผ้า เครื่องบิน หม้อต้มน้ำ กล้องวงจรปิด โทรเลข อ่างล้างมือ'.split(),
        [(o, o) for o in 'รีเซ็ต ทำความสะอาด ซ่อม เปลี่ยน วัด ติดตั้ง ถอด ยก ปรับ'.split()],
        ('ฉันจะ{v}{n}ได้อย่างไร', 'ต้องการ{v}{n}ต้องทำอย่างไรก่อน', 'ช่วยบอกวิธี{v}{n}หน่อย'),
        ('หากต้องการ{v}{n} ให้เปิดฝาด้านหน้าก่อน', 'การ{v}{n}ควรสวมถุงมือและทำตามคู่มือ', 'ก่อน{v}{n}ให้ปิดสวิตช์ไฟ'),
        ('ในคู่มือมีบทเรื่อง{n}ด้วย', '{n}วางอยู่บนชั้นข้างๆ')),
    hi=('राउटर प्रिंटर कैमरा इंजन केतली वायलिन सीढ़ी खिड़की साइकिल लालटेन कंबल दीवार'.split(), 'दीपक किताब राजमार्ग कंगन साड़ी खिलौना'.split(),
        [(o, o) for o in 'रीसेट साफ़ ठीक बंद चालू स्थापित अलग चार्ज तैयार'.split()],
        ('मैं अपना {n} कैसे {v} करूँ?', '{n} को {v} करना हो तो क्या करें?', 'क्या मैं घर पर {n} {v} कर सकता हूँ?'),
        ('{n} को {v} करने के लिए पहले सामने का ढक्कन उठाएँ।', '{n} {v} करने से पहले दस्ताने पहनें और पुस्तिका देखें।', 'जब {n} को {v} किया जाए, तब बिजली न हो।'),
        ('पुस्तिका में {n} पर भी एक अध्याय है।', '{n} पास की अलमारी में रखा है।')),
    de=('Router Drucker Kamera Wasserkocher Geschirrspüler Staubsauger Fernseher Rasenmäher Kühlschrank Heizkörper Türschloss Fahrradschlauch'.split(),
        'Wasserhahn Staubtuch Heizkessel Türklinke Schrankwand Druckluft'.split(),
        [(o, o.title()) for o in 'zurücksetzen reinigen reparieren austauschen vermessen einbauen zerlegen transportieren prüfen'.split()],
        ('Wie kann ich den {n} {v}?', 'Ich will {n} {v}, was mache ich zuerst?', 'Darf man einen {n} selbst {v}?'),
        ('Zum {v} öffnet man am {n} zuerst die vordere Klappe.', 'Beim {v} des Gerätes ({n}) trägt man Handschuhe.', 'Vor dem {v} ist der {n} vom Netz zu nehmen.'),
        ('Die Anleitung hat auch ein Kapitel zum Thema {n}.', 'Daneben im Regal liegt: {n}.')),
    ko=('공유기 프린터 스캐너 세탁기 식기세척기 청소기 전화기 선풍기 가습기 충전기 온수기 밥솥'.split(), '세면기 전동기 청진기 온도계 공기 프라이팬'.split(),
        [(o, o) for o in '초기화 청소 수리 교체 측정 설치 분해 운반 조정'.split()],
        ('제 {n}를 어떻게 {v}하나요?', '{n} {v} 방법을 알려 주세요.', '{n}를 {v}하려면 무엇부터 해야 하나요?'),
        ('{n}를 {v}할 때는 먼저 앞쪽 덮개를 여십시오.', '{n}의 {v}는 장갑을 끼고 합니다.', '{n}를 {v}하기 전에 전원을 끄십시오.'),
        ('설명서에는 {n}에 대한 장도 있습니다.', '{n}는 옆 선반에 있습니다.')))

def made_task(language:str)->Task:
    "108 questions among 162 passages: every thing with every action, and the same of things that nobody asks about"
    things, beside, actions, questions, answers, remarks = made[language]
    draw, asked = random.Random(5), [(n, a) for n in things for a in actions]
    def passage(n, a):
        remark = draw.choice(remarks).format(n=draw.choice([o for o in things + beside if o != n]))
        return ' '.join((draw.choice(answers).format(n=n, v=a[1]), remark))
    queries = {f'q{i}': draw.choice(questions).format(n=n, v=a[0]) for i,(n,a) in enumerate(asked)}
    corpus = {f'd{i}': passage(n, a) for i,(n,a) in enumerate(asked + [(n, a) for n in beside for a in actions])}
    return Task(queries, corpus, {f'q{i}': {f'd{i}': 1} for i in range(len(asked))})

def real_task(name:str)->Task|None: # None where the set is missing
    "Gold of a BEIR folder"
    folder = data/name
    if not (folder/'corpus.jsonl').is_file(): return None
    def texts(file): return {o['_id']: f"{o.get('title') or ''} {o['text']}".strip() for o in map(json.loads, (folder/file).open(encoding='utf-8'))}
    lines = (folder/'qrels'/'test.tsv').read_text(encoding='utf-8').splitlines()[1:]
    qrels, queries = {}, texts('queries.jsonl')
    for q,d,grade in (o.split('\t') for o in lines): qrels.setdefault(q, {})[d] = int(grade)
    return Task({q: queries[q] for q in qrels}, texts('corpus.jsonl'), qrels)

def ranking(task:Task, cut, method:str)->dict:
    "BM25 over any cut of texts into words"
    index, docs = bm25s.BM25(method=method), list(task.corpus)
    index.index(cut(task.corpus.values()), show_progress=False)
    found, scores = index.retrieve(cut(task.queries.values()), k=min(depth, len(docs)), show_progress=False)
    return {q: [(docs[i], s) for i,s in zip(ids, row) if s > 0] for q,ids,row in zip(task.queries, found, scores)}

def before(task:Task)->dict: return ranking(task, lambda o: bm25s.tokenize(list(o), show_progress=False), 'robertson')

def bigrams(task:Task)->dict:
    "Pairs of neighbouring characters of a text in small letters, spaces apart"
    def cut(texts): return [[w[i:i+2] for w in t.lower().split() for i in range(max(1, len(w)-1))] for t in texts]
    return ranking(task, cut, 'lucene')

def after(task:Task)->dict:
    from embed_lab.models.bm25 import search_bm25
    return search_bm25(task, depth)

depth, draws = 100, 10

def score(task:Task, hits:dict)->float:
    "nDCG@10, the mean over orders drawn for documents of equal scores: which of them comes first is no merit of a way to cut words"
    def drawn(ds, draw): return [d for d,_ in sorted(ds, key=lambda o: (-round(float(o[1]), 5), draw.random()))]
    def one(draw): return fmean(o['ndcg@10'] for o in per_query(task.qrels, {q: drawn(ds, draw) for q,ds in hits.items()}).values())
    return fmean(one(random.Random(i)) for i in range(draws))

def scores(name:str):
    "One line of the table"
    task = made_task(name) if name in made else real_task(name)
    if task is None: return print(f'{name:12} not here: {data/name}')
    was, now, pairs = (score(task, find(task)) for find in (before, after, bigrams))
    verdict = 'below both' if now < min(was, pairs) - .005 else 'lower than before' if now < was - .005 and was >= pairs else ''
    print(f'{name:12} {len(task.queries):7,} {len(task.corpus):8,} {was:8.4f} {now:8.4f} {pairs:8.4f}  {verdict}', flush=True)

def seconds(cut, texts:list)->float: # CPU seconds, the best of three
    best = float('inf')
    for _ in range(3):
        start = time.process_time()
        cut(texts)
        best = min(best, time.process_time() - start)
    return best

def passages_like(name:str, n:int)->list:
    "Passages as long as those of a set, of its own words (of its characters, where it has no spaces) at random: no sentence comes twice"
    texts = list((made_task(name) if name in made else real_task(name)).corpus.values())
    if len(texts) >= n: return texts[:n]
    spaced, draw = name not in ('zh', 'ja', 'th'), random.Random(1)
    pool = [o for t in texts for o in (t.split() if spaced else t)]
    def one(t): return (' ' if spaced else '').join(draw.choices(pool, k=len(t.split() if spaced else t)))
    return [one(texts[i % len(texts)]) for i in range(n)]

def speed(sets, n:int):
    "Cutting and numbering as `search_bm25` does it, beside `bm25s.tokenize`"
    from embed_lab.models.bm25 import _Numbers, _stop_words
    def ours(texts): return [*map(_Numbers(_stop_words).of, texts)]
    def theirs(texts): return bm25s.tokenize(texts, show_progress=False)
    print(f'\nCPU seconds to cut {n:,} passages: characters a passage, words in all by bm25s.tokenize and by us, seconds of both, ratio, seconds a million words')
    for name in (o for o in sets if o in made or real_task(o)):
        texts = passages_like(name, n)
        words, (a, b) = [sum(map(len, o)) for o in (theirs(texts).ids, ours(texts))], [seconds(o, texts) for o in (theirs, ours)]
        each = [f'{1e6*s/w:.2f}' for s,w in zip((a, b), words)]
        print(f'{name:12} {fmean(map(len, texts)):6,.0f} {words[0]:11,} {words[1]:11,} {a:7.2f} {b:7.2f} {b/a:6.2f}   {each[0]} {each[1]}', flush=True)

def main():
    p = parser(__doc__)
    p.add_argument('sets', nargs='*', type=known((*real, *made), 'set'), help='all when none is named')
    p.add_argument('--passages', type=int, default=0, help='how many to cut for the speed, such as 100,000; not measured unless given')
    args = p.parse_args()
    print(f"{'set':12} {'queries':>7} {'passages':>8} {'before':>8} {'after':>8} {'pairs':>8}  nDCG@10; pairs: of characters, nothing else")
    for o in args.sets or (*real, *made): scores(o)
    if args.passages: speed(args.sets or (*real, *made), args.passages)

if __name__ == '__main__': main()
