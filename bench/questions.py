"""What the questions of `emb generate` without a language model are worth: nDCG@10 on real gold, by `emb compare`

    python bench/questions.py FOLDER [DATA]... [--pairs N] [--gold N] [--documents N] [--seeds N] [--per N] [--on dev|gold] [--model static|minilm]

The same model is tuned on as many real questions and on questions made from the passages alone, real ones hidden; the untuned model stands beside both. `static` is a table of MiniLM's word vectors, which is tuned in seconds. Improve the questions by `--on dev`, never by gold. Finished runs are left as they are."""
import json, shutil
from pathlib import Path
from arguments import known, parser
from recipes import settings
from remedies import change, drawn, rows, timed, write
from support import emb
from verdicts import chosen_base, data

sets = 'medquad', 'nl2bash'
gentle = dict(static=dict(lr='.003', batch_size='64', max_length='128')) # one epoch of few pairs: chosen on medquad's dev
arms = {'real questions': 'exp_02_in_batch', 'made questions': 'exp_03_made'}

def make(home:Path, name:str, args, base:str)->Path: # The lab
    "A lab with real gold, whose corpus is the passages of gold and of train, and some others"
    lab = home/name
    if lab.exists(): return lab
    emb('init', lab, '--data', data/name, '--recipe', 'in-batch', cwd=home)
    emb('new', arms['made questions'], '--from', arms['real questions'], cwd=lab)
    ini = lab/'settings.ini'
    ini.write_text(ini.read_text().replace('sentence-transformers/all-MiniLM-L6-v2', base).replace('corpus = open', 'corpus = fixed'))
    folder, hidden = lab/'data', lab/'real'
    hidden.mkdir()
    gold, docs = drawn(rows(folder/f'{args.on}.jsonl'), args.gold), rows(folder/'corpus.jsonl')
    train = [o for o in drawn(rows(folder/'train.jsonl'), args.pairs*2) if o['label'] == 1][:args.pairs]
    wanted = {o['passage'] for o in gold + train}
    write(folder/'gold.jsonl', gold)
    write(folder/'corpus.jsonl', [o for o in docs if o['text'] in wanted] + drawn([o for o in docs if o['text'] not in wanted], args.documents))
    (folder/'qrels.tsv').unlink()
    asked = {o['query'] for o in gold}
    write(hidden/'train.jsonl', [o for o in train if o['query'] not in asked])
    shutil.move(folder/'dev.jsonl', hidden/'dev.jsonl')
    write(hidden/'dev.jsonl', [o for o in drawn(rows(hidden/'dev.jsonl'), args.gold//2) if o['query'] not in asked and o['passage'] in wanted] or train[:20])
    (folder/'train.jsonl').unlink()
    write_made(lab, args)
    return lab

def write_made(lab:Path, args):
    "Questions made from the corpus, as many as there are real ones"
    made = lab/'made'
    made.mkdir()
    print(emb('generate', 'data/corpus.jsonl', '--to', 'all.jsonl', '--model', 'none', '--per', args.per, cwd=lab).stdout)
    some = drawn(rows(lab/'all.jsonl'), args.pairs + args.gold//4)
    asked = {o['query'] for o in rows(lab/'data'/'gold.jsonl')}
    some = [o for o in some if o['query'] not in asked]
    write(made/'dev.jsonl', some[:args.gold//4])
    held = {o['query'] for o in some[:args.gold//4]}
    write(made/'train.jsonl', [o for o in some[args.gold//4:] if o['query'] not in held])

def run_all(lab:Path, args):
    tuning = [o for k,v in gentle.get(args.model, settings[args.model]).items() for o in ('-p', k, v)]
    for source,exp in zip(('real', 'made'), arms.values()):
        for o in ('train', 'dev'): shutil.copy(lab/source/f'{o}.jsonl', lab/'data'/f'{o}.jsonl')
        for seed in range(1, args.seeds + 1):
            if not any((lab/'results').glob(f'{exp},*seed={seed}/final')): timed(lab, 'run', exp, *tuning, '-p', 'allow_leaks', 'True', '-p', 'seed', seed)

def report(lab:Path, args):
    "Each kind of questions beside the untuned model"
    got = {k: json.loads(emb('compare', f'{exp},*', '--json', cwd=lab, ok=None).stdout) for k,exp in arms.items()}
    both = json.loads(emb('compare', *(f'{o},*' for o in arms.values()), '--json', cwd=lab, ok=None).stdout)
    first = next(iter(got.values()))
    print(f"\n{lab.name}: {len(rows(lab/'real'/'train.jsonl')):,} real and {len(rows(lab/'made'/'train.jsonl')):,} made pairs, "
        f"{first['queries']:,} real queries of {args.on} among {first['documents']:,} documents, {args.model}\n")
    print('| | nDCG@10 | over base, over queries and seeds | seeds |\n|---|---|---|---|')
    def score(o): return '{mean:.3f} [{low:.3f}, {high:.3f}]'.format(**o['scores']['ndcg@10'])
    for o in first['others']:
        if o['name'] in ('base, untuned', 'BM25'): print(f"| {o['name']} | {score(o)} | | |")
    for k,o in got.items(): print(f"| {k} | {score(o['recipes'][0])} | {change(o['pairs'][0]['verdict'])} | {len(o['recipes'][0]['runs'])} |")
    for o in both['pairs']:
        if {o.get('a'), o.get('b')} == {*arms.values()}: print(f"\n{o['b']} over {o['a']}: {change(o['verdict'])}")

def arguments(words:list|None=None):
    p = parser(__doc__)
    p.add_argument('folder', type=Path, help='where the labs are made; what is there already is left')
    p.add_argument('data', nargs='*', type=known(sets, 'data set'), help=f"of {', '.join(sets)}; all when none is named")
    p.add_argument('--pairs', type=int, default=1500, help='of train')
    p.add_argument('--gold', type=int, default=300, help='queries of gold')
    p.add_argument('--documents', type=int, default=1000, help='besides those of gold and train')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--per', type=int, default=3, help='questions a passage')
    p.add_argument('--on', choices=('dev', 'gold'), default='gold', help='whose real questions judge')
    p.add_argument('--model', choices=settings, default='static')
    args = p.parse_intermixed_args(words)
    args.data = args.data or [*sets]
    return args

def main():
    args = arguments()
    home = args.folder.resolve()
    base = chosen_base(home, args.model)
    for name in args.data:
        if not (data/name).exists(): print(f'{name}: no development data beside the repository'); continue
        lab = make(home, name, args, base)
        run_all(lab, args)
        report(lab, args)

if __name__ == '__main__': main()
