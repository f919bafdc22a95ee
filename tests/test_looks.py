"Every look at gold is counted, once"
import json, os, shutil
import pytest
from support import emb, exp, manifest
from embed_lab.data.reading import read_rows
from embed_lab.evaluation.scoring import score_found
from embed_lab.data.task import retrieval_task
from embed_lab.lab import LabError, read_lab
from embed_lab.runs.looks import count_looks, gold_hash, log_look
from embed_lab.runs.manifest import data_facts
from embed_lab.runs.record import start

pytestmark = pytest.mark.usefixtures('own_path')

def lines(lab): return [json.loads(o) for o in (lab/'results'/'gold_log.jsonl').read_text().splitlines()]

def looks(lab):
    "What is said of the lab's gold as it is"
    return count_looks(read_lab(lab), [gold_hash(dict(data=data_facts(lab/'data')))])[0]

def edited(lab, name, cell, at=-1):
    "An experiment with one more code cell"
    nb = lab/'experiments'/f'{name}.ipynb'
    d = json.loads(nb.read_text())
    d['cells'].insert(len(d['cells']) + at, dict(cell_type='code', id='more', metadata={}, outputs=[], execution_count=None, source=cell))
    nb.write_text(json.dumps(d))

killed_once = "import os, pathlib\nonce = run.lab.path/'once'\nif not once.exists():\n    once.touch()\n    os.kill(os.getpid(), 9)"

def test_scratch_runs_are_looks_each_time_they_show_something_new(lab, monkeypatch):
    monkeypatch.chdir(lab)
    task = retrieval_task(read_rows(lab/'data'/'gold.jsonl'))
    right = {q: [(d, 1.) for d in ds] for q,ds in task.relevant.items()}
    wrong = {q: [] for q in right}
    run = start(dict(seed=None, model=None), exp)
    for o in (right, right, wrong, right): score_found(task, dict(tuned=o, base=wrong), run)
    assert looks(lab).times == 2 and {o['run'] for o in lines(lab)} == {f'scratch/{exp}'}
    run = start(dict(seed=None, model=None), exp)
    score_found(task, dict(tuned=right, base=wrong), run)
    assert (looks(lab).times, looks(lab).recipes) == (3, 1)
    run.finish()
    assert looks(lab).times == 3 and len(run.manifest['looks']) == 1

def test_a_look_is_counted_before_its_scores_are_there(lab, monkeypatch):
    monkeypatch.chdir(lab)
    task = retrieval_task(read_rows(lab/'data'/'gold.jsonl'))
    hits = dict.fromkeys(('tuned', 'base'), {q: [(d, 1.) for d in ds] for q,ds in task.relevant.items()})
    run = start(dict(seed=None, model=None), exp)
    (lab/'results'/'gold_log.jsonl').mkdir()
    with pytest.raises(LabError, match='^results/gold_log.jsonl is not a file, so looks at gold cannot be logged; move it away, and run it again$'): score_found(task, hits, run)
    assert not run.eval.exists()
    with pytest.raises(LabError, match='is not a file'): start(dict(seed=None, model=None), exp)
    run.record(status='failed')

@pytest.mark.parametrize('recipe', ['in-batch', 'untuned'])
def test_a_run_that_is_killed_after_scoring_has_looked_once(lab, recipe):
    name = exp if recipe == 'in-batch' else 'exp_09'
    if recipe != 'in-batch': emb('new', name, '--recipe', recipe, cwd=lab)
    edited(lab, name, killed_once)
    emb('run', name, cwd=lab, ok=1)
    assert looks(lab).times == 1 and manifest(lab/'results'/name)['status'] == 'killed'
    emb('run', name, cwd=lab)
    m = manifest(lab/'results'/name)
    assert m['status'] == 'completed' and looks(lab).times == 1 and [o['look'] for o in m['looks']] == [o['look'] for o in lines(lab)]
    emb('run', name, '--restart', cwd=lab)
    assert (looks(lab).times, looks(lab).recipes) == (2, 1)
    emb('reproduce', name, cwd=lab)
    assert (looks(lab).times, looks(lab).recipes) == (3, 1) and lines(lab)[-1]['run'] == f'reproduced/{name}'
    (lab/'results'/'gold_log.jsonl').unlink()
    assert looks(lab).times == 3 and 'results/gold_log.jsonl has lost 3 looks' in emb('ls', cwd=lab).stdout

def test_a_run_that_stops_after_scoring_has_looked(lab):
    edited(lab, exp, "raise ValueError('enough')")
    emb('run', exp, cwd=lab, ok=1)
    assert looks(lab).times == 1 and manifest(lab/'results'/exp)['status'] == 'failed'

# the log

def some(lab, n, run='exp_01'):
    "Looks at the lab's gold, remembered by runs as they do it"
    inputs = dict(parameters=dict(seed=1), data=data_facts(lab/'data'))
    for i in range(n):
        o = log_look(read_lab(lab), f'{run},seed={i}', inputs, f'{run} {i}')
        path = lab/'results'/f'{run},seed={i}'
        path.mkdir(parents=True, exist_ok=True)
        (path/'run.json').write_text(json.dumps(dict(status='completed', looks=[{k: getattr(o, k) for k in o.__struct_fields__}])))

def test_lost_lines_are_noticed_wherever_they_stood(lab):
    some(lab, 6)
    log = lab/'results'/'gold_log.jsonl'
    whole = log.read_text().splitlines(True)
    assert (looks(lab).times, looks(lab).note) == (6, '')
    for left,lost in ((whole[:4], 2), (whole[2:], 2), (whole[:2] + whole[4:], 2), ([], 6)):
        log.write_text(''.join(left))
        assert looks(lab).times == 6 and looks(lab).note == f'results/gold_log.jsonl has lost {lost} looks, which count where a run remembers them'
    some(lab, 1, 'exp_02')
    assert looks(lab).times == 7 and lines(lab)[0]['number'] == 7 and 'has lost 6 looks' in looks(lab).note
    for i in range(5): shutil.rmtree(lab/'results'/f'exp_01,seed={i}')
    assert looks(lab).times == 2 and 'has lost 6 looks' in looks(lab).note
    shutil.move(lab/'results'/'exp_01,seed=5', lab/'results'/'aside'/'exp_01,seed=5')
    assert looks(lab).times == 2 and looks(lab) == count_looks(read_lab(lab), [looks(lab).gold], {})[0].__class__(looks(lab).gold, 2, 1, looks(lab).note)

@pytest.mark.parametrize('torn', [b'{"time": "20', b'{"time": 1}\n', b'\0'*300, b'\xff\xfe{', b'[]\n', b'['*100_000, b'\n\n', b'"x"\r\n'])
def test_a_torn_line_costs_nothing_but_itself(lab, torn):
    some(lab, 2)
    with open(lab/'results'/'gold_log.jsonl', 'ab') as f: f.write(torn)
    some(lab, 4)
    assert (looks(lab).times, looks(lab).note) == (4, '')

def test_a_log_that_cannot_be_read_is_said(lab):
    log = lab/'results'/'gold_log.jsonl'
    os.mkfifo(log)
    assert 'no look at it has been logged' in repr(looks(lab))
    with pytest.raises(LabError, match='is not a file'): some(lab, 1)
