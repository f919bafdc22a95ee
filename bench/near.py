"The whole check with near duplicates, beside datasketch's MinHashLSH at the same parameters: time, recall on planted pairs, false alarms, growth"
import json, os, random, re, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
from arguments import parser

words = [f'{a}{b}{c}' for a in 'bcdfghklmnprstvz' for b in ('a', 'e', 'i', 'o', 'u', 'ai', 'ou') for c in ('nder', 'st', 'mok', 'ril', 'ton', 'vex', 'sha', 'pel', 'gim', 'dur', 'lo', 'ne', 'rak', 'fi', 'wu', 'zet', 'bas', 'cor', 'hym', 'jad')]
words = words + [f'{a}{b}' for a,b in zip(words * 8, words[7:] * 8)]

def edited(text:str, how:str, draw)->str:
    "A near duplicate"
    w = text.split()
    if how == 'case and punctuation': return ' '.join(o.upper() if draw.random() < .5 else o for o in w) + '!'
    if how == 'reordered': return ' '.join(draw.sample(w, len(w)))
    if how == 'truncated': return ' '.join(w[:-draw.randint(1, 2)])
    for i in draw.sample(range(len(w)), int(how[0])): w[i] = draw.choice(words)
    return ' '.join(w)

kinds = ['1 word edited', '2 words edited', '3 words edited', 'case and punctuation', 'reordered', 'truncated']

def make(home:Path, n:int)->list: # (gold passage, train passage, kind)
    "n rows, one in a hundred of them in gold and a near duplicate of one in train"
    draw, common = random.Random(3), [1/(i + 20) for i in range(len(words))]
    total = [0.]
    for o in common: total.append(total[-1] + o)
    def text(k): return ' '.join(draw.choices(words, cum_weights=total[1:], k=k))
    train = [(text(draw.randint(7, 11)), text(draw.randint(14, 22))) for _ in range(n - n // 100)]
    planted = [(q, edited(p, kinds[i % len(kinds)], draw), p, kinds[i % len(kinds)]) for i,(q,p) in enumerate(draw.sample(train, n // 100))]
    for name,rows in dict(train=train, gold=[(text(9), p) for _,p,_,_ in planted]).items():
        (home/f'{name}.jsonl').write_text(''.join(json.dumps(dict(query=q, passage=p, label=1)) + '\n' for q,p in rows))
    return [(a, b, k) for _,a,b,k in planted]

def rows(path:Path): return [json.loads(o) for o in path.open()]

def ours(home:Path)->tuple: # (seconds, peak MiB)
    "`emb check`, everything it does"
    code = 'import sys, resource; from embed_lab.data.check import check_folder; check_folder(sys.argv[1]); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)'
    start = time.perf_counter()
    out = subprocess.run([sys.executable, '-c', code, str(home)], check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - start, int(out)

def found_by_us(home:Path, planted:list, threshold:float)->tuple: # (found planted pairs, all pairs, pairs below the threshold)
    from embed_lab.data.texts import Texts, jaccard, near_duplicates
    texts, every = Texts(), [o['passage'] for k in ('train', 'gold') for o in rows(home/f'{k}.jsonl')]
    forms = dict(zip(every, texts.normal(texts.add(every))))
    res = near_duplicates(texts, threshold)
    pairs = {*map(tuple, res.pairs.tolist())}
    hit = [res.same[forms[a]] == res.same[forms[b]] or tuple(sorted((res.same[forms[a]], res.same[forms[b]]))) in pairs for a,b,_ in planted]
    text = {int(v): k for k,v in forms.items()}
    low = sum(jaccard(text[a], text[b]) < threshold for a,b in [*pairs][:2000])
    return hit, len(pairs), low

def theirs(home:Path, planted:list, threshold:float)->tuple: # (seconds, found planted pairs, false alarms among candidates)
    "Sketch and index queries and passages, look up every one; the words are the same"
    from datasketch import MinHash, MinHashLSH
    from embed_lab.data.texts import normalised, word_set as split
    start, hit, alarms = time.perf_counter(), None, 0
    for key in ('query', 'passage'):
        texts = list(dict.fromkeys(o[key] for k in ('train', 'gold') for o in rows(home/f'{k}.jsonl')))
        sets = [[w.encode() for w in split(normalised(t))] for t in texts]
        index, sketches = MinHashLSH(threshold=threshold, num_perm=128), []
        for i in range(0, len(sets), 10_000): sketches += MinHash.bulk(sets[i:i+10_000], num_perm=128)
        near = []
        for i,o in enumerate(sketches):
            near.append(index.query(o))
            index.insert(i, o, check_duplication=False)
        if key == 'passage':
            took = time.perf_counter() - start
            at = {t: i for i,t in enumerate(texts)}
            hit = [at[b] in near[at[a]] or at[a] in near[at[b]] for a,b,_ in planted]
            some = [(i, j) for i,js in enumerate(near) for j in js][:20_000]
            alarms = sum(len({*sets[i]} & {*sets[j]}) / len({*sets[i]} | {*sets[j]}) < threshold for i,j in some) / max(1, len(some))
    return took, hit, alarms

def recall(planted:list, hit:list, threshold:float)->str:
    from embed_lab.data.texts import jaccard
    real = [jaccard(a, b) >= threshold for a,b,_ in planted]
    by = {k: [h for (_,_,o),h,r in zip(planted, hit, real) if o == k and r] for k in kinds}
    every = [h for h,r in zip(hit, real) if r]
    return f'{sum(every)/len(every):.4f} of {len(every):,} planted pairs at or above {threshold} ({", ".join(f"{k} {sum(v)/len(v):.3f}" for k,v in by.items() if v)})'

def main():
    p = parser(__doc__)
    p.add_argument('rows', nargs='*', type=int, help='100,000 and a million when none is named')
    p.add_argument('--peer-up-to', type=int, default=1_000_000, help='rows beyond which the peer is left out')
    args = p.parse_intermixed_args()
    threshold, before = .8, None
    for n in args.rows or (100_000, 1_000_000):
        home = Path(tempfile.mkdtemp())
        planted = make(home, n)
        took, peak = ours(home)
        print(f'{n:,} rows: emb check {took:.1f} s, {peak:,} MiB peak' + (f'; {took/before[1]:.1f} times the time for {n/before[0]:.0f} times the rows' if before else ''), flush=True)
        before = n, took
        hit, pairs, low = found_by_us(home, planted, threshold)
        print(f'  emb: recall {recall(planted, hit, threshold)}; {pairs:,} near pairs of passages, {low} of 2,000 of them below the threshold', flush=True)
        if n <= args.peer_up_to:
            theirs_took, hit, alarms = theirs(home, planted, threshold)
            print(f'  datasketch: {theirs_took:.1f} s, {theirs_took/took:.1f} times as long; recall {recall(planted, hit, threshold)}; {alarms:.1%} of its candidates are below the threshold', flush=True)

if __name__ == '__main__': main()
