"""`in-batch` and `hard-negatives` against the untuned model, BM25 and a plain script with the same steps, by `emb compare`

    python bench/recipes.py FOLDER [DATA]... [--arm ARM]... [--model static|minilm] [--seeds N] [--steps N]"""
import json, os, shutil, subprocess, sys, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from pathlib import Path
from random import Random
from arguments import known, parser
from kills import bin
from verdicts import chosen_base, data

settings = dict(static=dict(lr='.05', batch_size='256', max_length='128'), minilm=dict(lr='1e-4', batch_size='64', max_length='128'))
lengths = dict(medquad='256') # where the texts are long, for a model that reads more than 128 tokens
sets = 'nl2bash', 'medquad', 'banking77', 'pquad_fa', 'oewn'
arms = {'in-batch': ('exp_02_in_batch', {}), 'hard, audited': ('exp_03_hard_negatives', dict(suspects='drop')),
    'hard, not audited': ('exp_03_hard_negatives', dict(suspects='keep')), 'plain script': ('exp_90_plain', {})}

plain = ['''model: 'Optional[str]' = None
epochs: float = 1
batch_size: int = 64
lr: float = 1e-4
max_length: int = 128
seed: 'Optional[int]' = None''',
'''from embed_lab.runs.record import start
run = start(globals())''',
'''from inventory.datasets import load_splits
from inventory.evaluate import evaluate
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
splits = load_splits(run.lab.data)''',
'''encoder = SentenceTransformer(str(run.base), device='cpu')
if encoder.max_seq_length != float('inf'): encoder.max_seq_length = max_length
pairs = splits.train.filter(lambda o: o['label'] == 1).select_columns(['query', 'passage'])
args = SentenceTransformerTrainingArguments(str(run.path/'plain'), num_train_epochs=epochs, per_device_train_batch_size=batch_size, learning_rate=lr,
    warmup_steps=.1, batch_sampler=BatchSamplers.NO_DUPLICATES, seed=run.seed, use_cpu=True, save_strategy='no', report_to='none', disable_tqdm=True)
SentenceTransformerTrainer(encoder, args, train_dataset=pairs, loss=MultipleNegativesRankingLoss(encoder)).train()
encoder.save_pretrained(str(run.final))''',
'''scores = evaluate(encoder, splits, run)
run.finish(**scores.headline())''']

def notebook()->str: # JSON
    "The documentation's training script, as an experiment whose run is recorded like any other"
    def cell(i, o): return dict(cell_type='code', id=f'plain{i}', metadata=dict(tags=['parameters']) if i == 0 else {}, source=o, outputs=[], execution_count=None)
    title = dict(cell_type='markdown', id='title', metadata={}, source='# Plain\n\n> The script of the documentation\n\n**Needs:** relevant pairs')
    return json.dumps(dict(cells=[title, *(cell(i, o) for i,o in enumerate(plain))], metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')), nbformat=4, nbformat_minor=5))

def emb(lab, *args, **kw): return subprocess.run([bin/'emb', *map(str, args)], cwd=lab, text=True, capture_output=True, **kw)

def make(lab:Path, name:str, base:str, most:int):
    "A lab with the data, of train at most so many rows, the base model and the four arms"
    if lab.exists(): return
    emb(lab.parent, 'init', lab, '--data', data/name, '--recipe', 'in-batch', '--recipe', 'hard-negatives', check=True)
    rows = (lab/'data'/'train.jsonl').read_text().splitlines(keepends=True)
    (lab/'data'/'train.jsonl').write_text(''.join(rows[i] for i in sorted(Random(0).sample(range(len(rows)), min(most, len(rows))))))
    ini = (lab/'settings.ini').read_text().replace('sentence-transformers/all-MiniLM-L6-v2', base)
    (lab/'settings.ini').write_text(ini.replace('corpus = open', 'corpus = fixed') if name == 'banking77' else ini)
    (lab/'experiments'/'exp_90_plain.ipynb').write_text(notebook())

def run_all(lab:Path, kind:str, seeds:int, arms:dict):
    "Every arm with every seed; what is done already is left. Hard negatives are mined with the in-batch model of the first seed"
    given = dict(settings[kind])
    if kind == 'minilm' and (name := lab.name.removeprefix('minilm_')) in lengths: given['max_length'] = lengths[name]
    for seed in range(1, seeds+1):
        for arm,(exp,more) in arms.items():
            if exp == 'exp_03_hard_negatives': more = more | dict(miner='miner')
            t = time.time()
            words = [o for k,v in (given | more | dict(seed=str(seed))).items() for o in ('-p', k, v)]
            res = emb(lab, 'run', exp, *words)
            if exp == 'exp_02_in_batch' and not (lab/'miner').exists(): shutil.copytree(next((lab/'results').glob(f'{exp},*seed=1*'))/'final', lab/'miner')
            print(f'{lab.name} {arm} seed {seed}: {time.time()-t:.0f} s' + (f' {res.stderr.strip().splitlines()[-1:]}' if res.returncode else ''), file=sys.stderr, flush=True)

def report(lab:Path, arms:dict):
    "Scores with intervals, and each arm against the plain script"
    globs = {k: f'{exp}*' + (f"suspects={more['suspects']}*" if more else '') for k,(exp,more) in arms.items()}
    got = json.loads(emb(lab, 'compare', *globs.values(), '--json').stdout)
    def score(o): return f"{o['scores']['ndcg@10']['mean']:.3f} [{o['scores']['ndcg@10']['low']:.3f}, {o['scores']['ndcg@10']['high']:.3f}]"
    marks = {o['mark']: next(k for k,g in globs.items() if o['runs'][0].startswith(g.split('*')[0]) and (g.count('*') == 1 or g.split('*')[1] in o['runs'][0])) for o in got['recipes']}
    print(f'\n{lab.name}: {got["queries"]:,} gold queries')
    for o in got['others'][:2]: print(f"  {o['name']:20} {score(o)}")
    for o in got['recipes']: print(f"  {marks[o['mark']]:20} {score(o)}  {o['seeds']} seeds")
    for p in got['pairs']:
        v = p['verdict']
        print(f"  {marks[p['ours']]} v {marks[p['theirs']]}: {v['word']} {v['effect']:+.4f} [{v['low']:+.4f}, {v['high']:+.4f}], p {v['p']:.3f}, could show {v['detectable']:.3f}")

def arguments(words:list|None=None):
    p = parser(__doc__)
    p.add_argument('folder', type=Path, help='where the labs are made; what is there already is left')
    p.add_argument('data', nargs='*', type=known(sets, 'data set'), help=f"of {', '.join(sets)}; all when none is named")
    p.add_argument('--arm', action='append', type=known(arms, 'arm'), help=f"repeatable, of {', '.join(map(repr, arms))}; all when none is named")
    p.add_argument('--model', choices=settings, default='static')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--steps', type=int, default=400)
    args = p.parse_intermixed_args(words)
    args.data = args.data or [*sets]
    args.arm = {k: v for k,v in arms.items() if k in (args.arm or arms)}
    return args

def main():
    args = arguments()
    home = args.folder.resolve()
    base = chosen_base(home, args.model)
    for name in args.data:
        if not (data/name).exists(): print(f'{name}: no development data beside the repository'); continue
        lab = home/f'{args.model}_{name}'
        make(lab, name, base, args.steps*int(settings[args.model]['batch_size']))
        run_all(lab, args.model, args.seeds, args.arm)
        report(lab, args.arm)

if __name__ == '__main__': main()
