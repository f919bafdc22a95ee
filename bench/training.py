"""CPU seconds and peak memory of in-batch training beside the script of sentence-transformers' documentation: MiniLM, same rows, steps and seed

    python bench/training.py [DATA]... [--steps N] [--rounds N]

Each arm is a process of its own; loading, saving and looking at dev are not counted. Needs the development data beside the repository."""
import json, os, resource, subprocess, sys, tempfile, time
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from pathlib import Path
from statistics import median
from arguments import known, parser
from verdicts import data, load

lengths, batch = dict(medquad=256), 64
sets = 'nl2bash', 'medquad'

def rows(name:str, steps:int):
    "So many relevant pairs, no passage or query twice"
    pairs = {o['passage']: o for o in {o['query']: o for o in load(data/name).train.to_list() if o['label']}.values()}
    from embed_lab.inventory.datasets import to_dataset
    return to_dataset([dict(query=o['query'], passage=o['passage'], label=1) for o in list(pairs.values())[:steps*batch]])

class Clock:
    "CPU seconds of all training steps"
    total, wall, running = 0., 0., False
    def __call__(self, trainer_class):
        clock = self
        class Timed(trainer_class):
            def _inner_training_loop(self, *args, **kw):
                t, wall, clock.running = time.process_time(), time.perf_counter(), True
                out = super()._inner_training_loop(*args, **kw)
                clock.total, clock.wall, clock.running, clock.loss = clock.total + time.process_time() - t, time.perf_counter() - wall, False, out.training_loss
                return out
            def evaluate(self, *args, **kw):
                t = time.process_time()
                try: return super().evaluate(*args, **kw)
                finally: clock.total -= (time.process_time() - t) * clock.running
        return Timed

def plain(name, train, clock):
    from embed_lab.models.base import find_model, minilm
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import BatchSamplers
    model = SentenceTransformer(str(find_model(minilm)), device='cpu')
    model.max_seq_length = lengths.get(name, 128)
    args = SentenceTransformerTrainingArguments(tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=batch, learning_rate=1e-4, warmup_steps=.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES, seed=1, use_cpu=True, save_strategy='no', report_to='none', disable_tqdm=True)
    trainer = clock(SentenceTransformerTrainer)(model, args, train_dataset=train.select_columns(['query', 'passage']), loss=MultipleNegativesRankingLoss(model))
    trainer.train()

def ours(name, train, clock):
    import embed_lab.inventory.train as t
    from embed_lab.inventory.datasets import Splits
    from embed_lab.models.base import find_model, keep_memory, minilm
    from embed_lab.runs.record import rehearsal
    keep_memory()
    t.LabTrainer = clock(t.LabTrainer)
    few = train.select(range(4))
    t.train(Splits(train, few, few), rehearsal(find_model(minilm), seed=1), loss='in-batch', epochs=1, batch_size=batch, lr=1e-4, max_length=lengths.get(name, 128), evals=1)

def one(arm, name, steps):
    "In a process of its own: print what it took"
    if arm == 'plain': import torch # before embed_lab, which settles how its threads wait
    clock = Clock()
    dict(plain=plain, ours=ours)[arm](name, rows(name, int(steps)), clock)
    print(json.dumps(dict(cpu=clock.total, wall=clock.wall, peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024, loss=clock.loss)))

def main():
    p = parser(__doc__)
    p.add_argument('data', nargs='*', type=known(sets, 'data set'), help=f"of {', '.join(sets)}; all when none is named")
    p.add_argument('--steps', type=int, default=8)
    p.add_argument('--rounds', type=int, default=3)
    args = p.parse_intermixed_args()
    steps = args.steps
    from embed_lab.models.base import hardware
    print(hardware())
    for name in args.data or sets:
        got = {o: [] for o in ('plain', 'ours')}
        for i in range(args.rounds):
            for arm in got:
                res = subprocess.run([sys.executable, __file__, '--one', arm, name, str(steps)], capture_output=True, text=True, check=True)
                got[arm].append(json.loads(res.stdout.splitlines()[-1]))
        cpu, peak = ({k: [o[what] for o in v] for k,v in got.items()} for what in ('cpu', 'peak'))
        ratios = sorted(a/b for a,b in zip(cpu['plain'], cpu['ours']))
        print(f"{name}, {steps} steps of {batch} pairs: plain {median(cpu['plain']):.0f} CPU s, ours {median(cpu['ours']):.0f}: {median(ratios):.2f} times [{ratios[0]:.2f}, {ratios[-1]:.2f}]; peak {median(peak['plain']):,.0f} MiB and {median(peak['ours']):,.0f} MiB; mean loss {got['plain'][0]['loss']:.3f} and {got['ours'][0]['loss']:.3f}", flush=True)

if __name__ == '__main__': one(*sys.argv[2:]) if sys.argv[1:2] == ['--one'] else main()
