"Questions for passages: from documents alone and from a server that is killed between, without duplicates, leaks or a row in gold"
import json, os, signal, threading, time
from collections import Counter
from random import Random
import pytest
from embed_lab.data.files import write_rows
from embed_lab.data.reading import read_rows
from embed_lab.labs.generate import mark_rows, own_questions, question_row, sound_rows
from embed_lab.labs.questions import passage_questions, word_counts
from support import begin, emb, exp, made_lab, manifest, serving, wait_for

parts = 'ba', 'ko', 'ri', 'tu', 'mel', 'san', 'vor', 'pix', 'lo', 'den'

def documents(n=50, per=4):
    "Passages of `n` made-up manuals"
    rng = Random(0)
    names = [''.join(rng.choices(parts, k=4)) for _ in range(3000)]
    def w(k): return ' '.join(rng.sample(names, k))
    for i in range(n):
        title = f'{w(2)} manual'
        for j in range(per):
            text = (f'## {w(2)}\n\nA {w(1)} is a part that joins {w(3)} with {w(2)}. To reset the {w(2)}, hold {w(3)} until {w(4)} ends. '
                f'Never {w(2)} the {w(3)}.' + (f'\n\nQ: How do I {w(3)}?\nA: Use {w(2)}.' if j == 1 else ''))
            yield dict(_id=f'doc{i}.md#{j}', title=title, text=text, group=f'doc{i}.md')

@pytest.fixture
def folder(tmp_path):
    (tmp_path/'data').mkdir()
    write_rows(tmp_path/'data'/'corpus.jsonl', documents())
    return tmp_path

def rows(folder, split): return read_rows(folder/'data'/f'{split}.jsonl')
def generated(folder, *args, **kw): return emb('generate', '--model', 'none', *args, cwd=folder, **kw)
def counts(folder, *args, **kw): return json.loads(generated(folder, '--json', *args, **kw).stdout)

# from documents alone

def test_documents_become_a_checked_lab(folder):
    res = generated(folder, '--gold').stdout
    assert 'without a language model: weaker than real questions' in res and 'round trip' in res
    found = json.loads(emb('check', 'data', '--json', cwd=folder).stdout)
    assert not [o for o in found['findings'] if o['level'] == 'fail']
    splits = {k: rows(folder, k) for k in ('train', 'dev', 'gold')}
    assert all(o['origin'] == 'synthetic' and o['label'] == 1 for some in splits.values() for o in some)
    groups = [{o['group'] for o in some} for some in splits.values()]
    assert all(len(o) >= 3 for o in groups) and not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]

def test_no_synthetic_row_goes_into_gold_unless_asked(folder):
    generated(folder)
    assert sorted(o.name for o in (folder/'data').iterdir()) == ['corpus.jsonl', 'dev.jsonl', 'train.jsonl']
    asked = rows(folder, 'train')[0]
    real = dict(query='who made it, and when', passage=asked['passage'], passage_id=asked['passage_id'], label=1)
    write_rows(folder/'data'/'gold.jsonl', [real])
    for o in ('train', 'dev'): (folder/'data'/f'{o}.jsonl').unlink()
    before = (folder/'data'/'gold.jsonl').read_bytes()
    assert 'leave out --gold' in generated(folder, '--gold', ok=2).stderr
    assert counts(folder)['left_out']['would give gold away'] > 0
    assert (folder/'data'/'gold.jsonl').read_bytes() == before
    assert not {asked['passage']} & {o['passage'] for k in ('train', 'dev') for o in rows(folder, k)} # the corpus is open

def test_the_same_seed_makes_the_same_files(folder):
    made = []
    for n in 1, 1, 2:
        generated(folder, '--seed', n, '--per', 9, '--to', 'all.jsonl')
        made.append((folder/'all.jsonl').read_bytes())
        (folder/'all.jsonl').unlink()
    assert made[0] == made[1] != made[2]

def test_one_file_is_split_by_emb_split(folder):
    generated(folder, '--to', 'all.jsonl')
    emb('split', 'all.jsonl', '--into', 'data', cwd=folder)
    assert len(rows(folder, 'train')) > 300 and 'no row is repeated' in emb('check', 'data', cwd=folder).stdout

def test_what_is_there_is_refused_or_added_to(folder):
    data = folder/'data'
    real = [dict(query='real question', passage='an answer', label=1), dict(query='and another', passage='not this', label=0)]
    write_rows(data/'train.jsonl', real)
    first = (data/'train.jsonl').read_bytes().rstrip(b'\n') # as an editor may leave it
    (data/'train.jsonl').write_bytes(first)
    assert '--add' in generated(folder, ok=2).stderr and (data/'train.jsonl').read_bytes() == first
    res = counts(folder, '--add')
    assert (data/'train.jsonl').read_bytes().startswith(first + b'\n{') and len(rows(folder, 'train')) == 2 + res['questions']
    assert res['real'] == 1 and res['real_overlap'] == 0 and not (data/'dev.jsonl').exists()
    assert generated(folder, '--add', ok=1).stdout.startswith('0 questions') # all of them are there

@pytest.mark.parametrize('args,said', [(('none.jsonl',), 'no such file'), (('--drop', 'hard'), 'write easy or impossible'), (('--prices', '1'), 'two numbers'),
    (('--prices', 'nan,1'), 'two numbers'), (('--per', '0'), 'write 1 or more'), (('--add',), 'no train.jsonl to add to'), (('--to', 'x.jsonl', '--gold'), 'is a file'),
    (('--like', 'none.jsonl'), 'none.jsonl')])
def test_what_cannot_be_is_one_line(folder, args, said, monkeypatch):
    monkeypatch.setenv('EMB_CHAT_URL', 'http://127.0.0.1:9')
    monkeypatch.setenv('EMB_CHAT_MODEL', 'tiny')
    res = generated(folder, *args, ok=2)
    assert said in res.stderr and len(res.stderr.strip().splitlines()) == 1 and not (folder/'data'/'train.jsonl').exists()

def test_a_corpus_without_documents_or_titles_will_do(tmp_path):
    write_rows(tmp_path/'c.jsonl', [dict(_id=str(i), text=f'ルーター{i}は{o}です。ボタン{i}を十秒間押すと{o}が再起動します。') for i,o in enumerate('機械 道具 部品 装置 器具 設備 端末 回路'.split())])
    emb('generate', 'c.jsonl', '--to', 'q.jsonl', '--model', 'none', cwd=tmp_path)
    assert {o['passage_id'] for o in read_rows(tmp_path/'q.jsonl')} == set('01234567')

# what questions are made of

def questions(text, **doc):
    docs = [dict(_id='a', text=text) | doc, *(dict(_id=str(i), text=f'other words {i}') for i in range(9))]
    return [*passage_questions(docs[0], word_counts(o['text'] for o in docs), Random(0))]

@pytest.mark.parametrize('text,kind,asked', [('**Q: How do I reset it?**\nA: Hold it.', 'asked', 'How do I reset it?'), ('1) ¿Cómo se reinicia el aparato?\nAsí.', 'asked', '¿Cómo se reinicia el aparato?'),
    ('A valve (or tap) is a part that regulates flow.', 'definition', 'What is a valve?'), ('Ein Ventil ist ein Bauteil.', 'definition', 'Was ist ein Ventil?'),
    ('def f():\n    """Close all valves of a pump."""\n', 'docstring', 'Close all valves of a pump.'), ('# Opening a valve\nTurn it.', 'heading', 'Opening a valve')])
def test_a_passage_asks_itself(text, kind, asked): assert (kind, asked) in questions(text)

@pytest.mark.parametrize('text', ['This is a test.', 'It is the best. They are the ones that win.'])
def test_a_pronoun_is_no_definition(text): assert not [o for o in questions(text) if o[0] == 'definition']

# duplicates and the round trip

def test_planted_duplicates_are_dropped():
    docs = [*documents(20)]
    made = [*own_questions(docs)]
    sound = sound_rows(made, {}, 'open', Counter())
    copies = [o | dict(query=o['query'].upper() + ' ??') for o in sound] + [o | dict(query=f"{o['query']} x") for o in sound if len(o['query'].split()) > 8]
    left = Counter()
    assert sound_rows(sound + copies, {}, 'open', left) == sound
    assert left['duplicates'] == len(sound) and left['near duplicates'] == len(copies) - len(sound) > 10
    assert not sound_rows(sound, dict(train=sound), 'open', left)

def test_what_several_documents_ask_nobody_asks():
    docs = [dict(_id=str(i), text=f'answer number {i}', group=g) for i,g in enumerate('aab')]
    def left(which): return [o['passage_id'] for o in sound_rows([question_row('Introduction', docs[i], 'heading') for i in which], {}, 'fixed', Counter())]
    assert left((0, 1)) == ['0'] and left((0, 2)) == [] and left((1,)) == ['1']

def test_rows_are_marked_by_what_finds_them():
    docs = [dict(_id=str(i), text=f'word{i} common text' + ' and more of it'*(i == 119)) for i in range(120)]
    asked = ['word7', 'a question of word7', 'common', 'zebra']
    made = mark_rows([question_row(o, docs[7 if i < 2 else 119], 'keywords') for i,o in enumerate(asked)], {o['_id']: o['text'] for o in docs})
    assert [o['tags'][1:] for o in made] == [['easy'], [], ['impossible'], ['impossible']]

def test_marked_rows_are_dropped_on_request(folder):
    kept = counts(folder, '--to', 'a.jsonl')
    res = counts(folder, '--to', 'b.jsonl', '--drop', 'easy')
    assert kept['easy'] > 0 and res['easy'] == 0 and res['questions'] == kept['questions'] - kept['easy'] and res['left_out']['too easy'] == kept['easy']

# from a server

def completion(questions): return dict(choices=[dict(message=dict(content=json.dumps(dict(questions=questions))))], usage=dict(prompt_tokens=100, completion_tokens=50))

def words_of(prompt): return prompt.rpartition('assage:\n')[2].split()

def writer(path, body, head):
    "A model that asks for words of the passage in other forms"
    prompt = body['messages'][-1]['content']
    text = words_of(prompt)
    if 'Second passage' in prompt: return 200, completion([dict(kind='question', question=f'both of {text[-2]} and {text[7]}')])
    return 200, completion([dict(kind=k, question=f'{k} {text[-1 - i]} {text[-4]} {text[5 + i]}') for i,k in enumerate(('keywords', 'question', 'how-to'))])

@pytest.fixture
def chat(monkeypatch):
    monkeypatch.setenv('EMB_CHAT_MODEL', 'tiny')
    monkeypatch.setenv('EMB_CHAT_API_KEY', 'secret-key-0123456789')
    def at(url): monkeypatch.setenv('EMB_CHAT_URL', url)
    return at

def test_a_server_writes_several_kinds_and_pairs_of_passages(folder, chat):
    seen = []
    with serving(lambda path, body, head: seen.append(body['messages'][-1]['content']) or writer(path, body, head)) as url:
        chat(url)
        res = generated(folder, '--prices', '1,2')
        again = generated(folder, '--to', 'again.jsonl')
    assert 'about 250 requests' in res.stderr and 'spent: 250 requests, 25,000 tokens of prompts and 12,500 of answers, at these prices 0.05' in res.stdout
    assert '250 more are answered on disk' in again.stderr and len(seen) == 250
    made = rows(folder, 'train') + rows(folder, 'dev')
    assert {o['tags'][0] for o in made} == {'keywords', 'question', 'how-to', 'two passages'}
    pairs = Counter(o['query'] for o in made if o['tags'][0] == 'two passages')
    assert {*pairs.values()} == {2}
    assert not any(b'secret-key' in o.read_bytes() for o in folder.rglob('*') if o.is_file()) and 'secret-key' not in res.stdout + res.stderr

def test_the_style_comes_from_real_questions(folder, chat):
    write_rows(folder/'like.jsonl', [dict(query='how does one do it', passage='so', label=1), dict(query='made up', passage='so', label=1, origin='synthetic')])
    seen = []
    with serving(lambda path, body, head: seen.append(body['messages'][-1]['content']) or writer(path, body, head)) as url:
        chat(url)
        generated(folder, '--passages', '5', '--like', 'like.jsonl', '--to', 'q.jsonl')
    assert all('- how does one do it\n' in o and 'made up' not in o for o in seen)

def test_a_dry_run_shows_ten_and_pays_for_those_alone(folder, chat):
    seen = []
    with serving(lambda path, body, head: seen.append(body) or writer(path, body, head)) as url:
        chat(url)
        res = generated(folder, '--dry-run', '--prices', '0.15,0.60')
    assert res.stdout.count('←') == 10 and len(seen) == 4 and 'about 250 requests' in res.stderr and 'at these prices' in res.stderr
    assert not (folder/'data'/'train.jsonl').exists()

def test_unusable_answers_are_counted_and_stop_nothing(folder, chat):
    odd = iter([dict(choices=[dict(message=dict(content=o))]) for o in ('', 'no', '{"questions": []}', '{"questions": [1, {"kind": "poem", "question": "a b"}]}', '{"questions": [{"kind": "keywords", "question": "??"}]}')])
    def answer(*asked): return (200, o) if (o := next(odd, None)) else writer(*asked)
    with serving(answer) as url:
        chat(url)
        res = counts(folder, '--jobs', '1')
    assert res['left_out']['an empty answer'] == 1 and res['left_out']['without a usable question'] == 4 and res['questions'] > 400

def test_killed_at_ten_moments_nothing_is_paid_for_twice(folder, chat):
    "What came is on disk; only the requests that were under way, as many as there are jobs, are asked again"
    lock, free, asked, jobs, most = threading.Lock(), threading.Event(), Counter(), 3, [0]
    def slow(path, body, head):
        with lock:
            asked[body['messages'][-1]['content']] += 1
            late = sum(asked.values()) > most[0] # and so is under way when the client dies, however fast it is
        if late: free.wait(60)
        return writer(path, body, head)
    def kept(): return len([*folder.rglob('.questions/*/*.json')])
    with serving(slow) as url:
        chat(url)
        for i in range(10):
            before, had = sum(asked.values()), kept()
            most[0] = before + 5 + 3*i
            free.clear()
            p = begin('emb', 'generate', '--model', 'none', '--jobs', jobs, cwd=folder)
            wait_for(lambda: sum(asked.values()) > most[0] or p.poll() is not None)
            os.killpg(p.pid, signal.SIGKILL)
            free.set()
            p.communicate(30)
            assert sum(asked.values()) - before <= kept() - had + jobs
            assert not (folder/'data'/'train.jsonl').exists()
        most[0] = 1000
        generated(folder, '--jobs', jobs)
    assert len(asked) == 250 and sum(asked.values()) <= 250 + 10*jobs and not [*folder.rglob('*.part')]
    assert len(rows(folder, 'train')) > 400

# synthetic gold

said = 'gold is synthetic: '

def test_whatever_shows_a_score_says_that_gold_is_synthetic(folder, base):
    generated(folder, '--gold')
    lab = made_lab(folder/'lab', folder/'data', base, ('in-batch',))
    n = len({o['query'] for o in read_rows(lab/'data'/'gold.jsonl')})
    ran = emb('run', exp, cwd=lab)
    assert said in ran.stdout + ran.stderr
    run = lab/'results'/exp
    metrics, m = json.loads((run/'eval'/'gold_metrics.json').read_text()), manifest(run)
    assert metrics['synthetic'] == m['synthetic'] == n and any(o.startswith(said) for o in m['warnings'])
    assert said in (run/'plots'/'gold_metrics.html').read_text() and said in (run/f'{exp}.ipynb').read_text()
    assert 'Gold is synthetic' in (run/'final'/'README.md').read_text()
    for args in ('ls',), ('compare', exp): assert said in emb(*args, cwd=lab, ok=None).stdout
    emb('board', cwd=lab)
    assert 'Gold is synthetic' in (lab/'results'/'board.html').read_text()
    assert json.loads(emb('ls', '--json', cwd=lab).stdout)[exp]['listed']['synthetic']

def test_real_gold_is_not_called_synthetic():
    from embed_lab.data.task import retrieval_task
    from embed_lab.evaluation.scores import score_rankings
    made = [dict(query=q, passage=q + '!', label=1, origin=o) for q,o in (('a', None), ('b', 'forum'), ('c', 'synthetic'))]
    def scores(rows):
        task = retrieval_task(rows)
        return score_rankings(task, dict(base={q: [] for q in task.queries}))
    assert scores(made[:2]).synthetic == 0 and 'synthetic' not in repr(scores(made[:2])) and 'synthetic' not in scores(made[:2]).to_dict()
    assert scores(made).synthetic == 1 and f'{said}1 query was' in repr(scores(made))
