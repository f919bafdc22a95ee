"""How far `emb run --estimate` is off: the estimate of a run beside the run itself, MiniLM

    python bench/estimate.py FOLDER [DATA]... [--steps N] [--experiment EXP]

Each run is recorded in its lab, so a second call needs another folder. Needs the development data beside the repository."""
import json, os, sys
os.environ |= dict(HF_HUB_OFFLINE='1')
from pathlib import Path
from arguments import known, parser
from recipes import emb, lengths, make, sets, settings
from verdicts import data

def one(lab:Path, exp:str, given:dict)->dict:
    "What the manifest says: of time, memory and disk what was estimated, what it was, and how far that is off"
    words = [o for k,v in given.items() for o in ('-p', k, v)]
    for o in (['--estimate'], []):
        if (res := emb(lab, 'run', exp, *words, *o)).returncode: sys.exit(res.stderr.strip().splitlines()[-1])
    run, = (json.loads(o.read_text()) for o in lab.glob(f'results/{exp},*/run.json'))
    return run['estimate']

def main():
    p = parser(__doc__)
    p.add_argument('folder', type=Path)
    p.add_argument('data', nargs='*', type=known(sets, 'data set'), help='nl2bash and medquad when none is named')
    p.add_argument('--steps', type=int, default=40)
    p.add_argument('--experiment', default='exp_02_in_batch')
    args = p.parse_intermixed_args()
    exp = args.experiment
    from embed_lab.models.base import minilm
    from embed_lab.training.estimate import duration_text, size_text
    home = args.folder.resolve()
    home.mkdir(parents=True, exist_ok=True)
    for name in args.data or ('nl2bash', 'medquad'):
        if not (data/name).exists(): print(f'{name}: no development data beside the repository'); continue
        make(home/name, name, minilm, args.steps*int(settings['minilm']['batch_size']))
        for k,o in one(home/name, exp, settings['minilm'] | dict(max_length=lengths.get(name, '128'))).items():
            show = duration_text if k == 'seconds' else size_text
            print(f"{name}, {exp}, {k}: {show(o['estimated'])} estimated, {show(o['was'])} it was, {o['off']:+.0%} off", flush=True)

if __name__ == '__main__': main()
