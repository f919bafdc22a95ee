"""What checkpoints cost, and what a kill at a random moment loses, with the clock's checkpoints and with those of the looks at dev alone

    python bench/checkpoints.py [STEPS] [--model FOLDER]

A short training of in-batch negatives writes about ten checkpoints between the looks; what one takes to write and seal beside a step is measured, and the rule of `checkpoint_pause` is then played through for trainings of several lengths."""
import os, time, warnings
os.environ |= dict(HF_HUB_OFFLINE='1', TOKENIZERS_PARALLELISM='false')
from statistics import median
from arguments import parser
from embed_lab.data.sample import mine_sample
from embed_lab.inventory.datasets import Splits, to_dataset
from embed_lab.inventory.train import train
from embed_lab.models.base import find_model
from embed_lab.runs.record import folder_bytes, rehearsal
from embed_lab.training import checkpoints

class Timed(checkpoints.CheckpointClock):
    "A clock that keeps what writing took"
    took = []
    def saved(self, alone):
        super().saved(alone)
        if alone: self.took.append(self.writing)

def measured(model, steps): # (seconds a checkpoint, seconds of the training, its checkpoints, bytes of one, seconds that went into telling of progress)
    from embed_lab.training import trainer
    trainer.CheckpointClock, pause = Timed, checkpoints.checkpoint_pause
    checkpoints.checkpoint_pause = lambda training, writing: training/10
    rows, run = mine_sample(), rehearsal(model)
    splits = Splits(*(to_dataset(rows[k][:n]) for k,n in dict(train=32*steps, dev=60, gold=60).items()))
    start = time.perf_counter()
    with warnings.catch_warnings(action='ignore'): train(splits, run, loss='in-batch', batch_size=32, max_length=64, lr=1e-4)
    took, checkpoints.checkpoint_pause = time.perf_counter() - start, pause
    return median(Timed.took), took, len(Timed.took), folder_bytes(max(run.checkpoints.glob('checkpoint-*'))), run._pace.spent

def saves(training, writing, clock, looks=3): # When checkpoints are taken, in seconds of training
    at, found = 0., []
    for look in [training*(i + 1)/looks for i in range(looks)]:
        while clock and (at := (found or [0.])[-1] + checkpoints.checkpoint_pause(training, writing)) < look: found.append(at)
        found.append(look)
    return found

def lost(training, found): # (mean, most) seconds of training that a kill at a random moment loses
    gaps = [b - a for a,b in zip([0., *found], found)]
    return sum(o*o/2 for o in gaps)/training, max(gaps)

def main():
    p = parser(__doc__)
    p.add_argument('steps', nargs='?', type=int, default=60)
    p.add_argument('--model', default='sentence-transformers/all-MiniLM-L6-v2', help='a folder or a hub id')
    args = p.parse_args()
    writing, took, n, size, telling = measured(find_model(args.model), args.steps)
    print(f'{args.steps} steps in {took:.0f} s with {n} checkpoints of {size/1e6:,.0f} MB between the looks: {writing:.2f} s to write and seal one, {n*writing/took:.1%} of that training')
    print(f'telling of progress took {telling:.2f} s, {telling/took:.2%}')
    print(f"{'training':>10} {'checkpoints':>12} {'their cost':>11} {'lost by a kill, mean and most':>30} {'with the looks alone':>22}")
    for minutes in (3, 10, 30, 60, 600):
        t = 60*minutes
        found, looks = saves(t, writing, True), saves(t, writing, False)
        (mean, most), (before, worst) = lost(t, found), lost(t, looks)
        print(f'{minutes:>6} min {len(found) - len(looks):>6} + {len(looks)} {(len(found) - len(looks))*writing/t:>11.2%} {f"{mean/60:.1f} and {most/60:.1f} min ({most/t:.0%})":>30} {f"{before/60:.1f} and {worst/60:.1f} min":>22}')

if __name__ == '__main__': main()
