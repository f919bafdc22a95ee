"What was hashed is what was read: data that change under a run or a sweep stop it, in one line"
import gzip, json, os, shutil
import pytest
from support import emb, exp, manifest, whole_run_path
from embed_lab.data.files import ContentHash, file_hash, frozen_files, open_data, write_rows
from embed_lab.data.folder import checked_facts, read_folder
from embed_lab.data.reading import read_rows
from embed_lab.lab import LabError, read_lab
from embed_lab.labs.recipes import find_recipe
from embed_lab.labs.scaffold import new_experiment
from embed_lab.models.corpus import CorpusTexts
from embed_lab.runs.execute import plan
from embed_lab.runs.manifest import data_facts, frozen_text
from embed_lab.runs.record import start

pytestmark = pytest.mark.usefixtures('own_path')

def append(path, row=dict(query='how do I reset it', passage='hold the button', label=1)):
    with open(path, 'a') as f: f.write(json.dumps(row) + '\n')

def rewritten(path):
    "Another text of the same size at the same time"
    at, text = path.stat(), path.read_bytes()
    path.write_bytes(text.replace(b'the', b'eht', 1))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert path.stat().st_size == at.st_size

def zipped(path):
    path.with_name(f'{path.name}.gz').write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

@pytest.fixture
def run(lab, monkeypatch):
    "A run that has begun in this process"
    monkeypatch.chdir(lab)
    write_rows(lab/'data'/'guard.jsonl', read_rows(lab/'data'/'gold.jsonl')[:50])
    write_rows(lab/'data'/'decisions.jsonl', [dict(query='the', passage='b', decision='keep')])
    res = start(dict(epochs=1, seed=None, model=None), exp)
    yield res
    res.record(status='failed')

@pytest.mark.parametrize('file', ['train.jsonl', 'dev.jsonl', 'gold.jsonl', 'corpus.jsonl', 'guard.jsonl', 'decisions.jsonl'])
def test_every_file_is_compared_as_it_is_read(run, file):
    assert read_folder(run.lab.data)
    rewritten(run.lab.data/file)
    with pytest.raises(LabError, match=f'^data/{file} has changed since the run began; run it again$'): read_folder(run.lab.data)

@pytest.mark.parametrize('file, how', [
    ('data/train.jsonl has changed', lambda d: append(d/'train.jsonl')),
    ('data/train.jsonl has changed', lambda d: (shutil.copy(d/'train.jsonl', d/'new'), append(d/'new'), os.replace(d/'new', d/'train.jsonl'))),
    ('data/dev.jsonl has changed', lambda d: (shutil.copytree(d, d.with_name('new')), d.rename(d.with_name('old')), append(d.with_name('new')/'dev.jsonl'), d.with_name('new').rename(d))),
    ('new/dev.jsonl has changed', lambda d: (d.rename(d.with_name('old')), shutil.copytree(d.with_name('old'), d.with_name('new')), append(d.with_name('new')/'dev.jsonl'), d.symlink_to('new'))),
    ('data/gold.jsonl has changed', lambda d: ((d/'gold.jsonl').rename(d/'g'), shutil.copy(d/'g', d/'h'), append(d/'h'), (d/'gold.jsonl').symlink_to('h'))),
    ('data/corpus.jsonl is gone', lambda d: (d/'corpus.jsonl').unlink()),
    ('data/guard.jsonl is gone', lambda d: (d/'guard.jsonl').unlink()),
    ('data/qrels.tsv is new', lambda d: (d/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\n')),
    ('data/gold.jsonl is gone', lambda d: zipped(d/'gold.jsonl'))])
def test_whatever_way_it_is_replaced(run, file, how):
    how(run.lab.data)
    with pytest.raises(LabError, match=f'^{file} since the run began; run it again$'): read_folder(run.lab.data)

def test_every_reader_compares_and_only_while_the_run_lasts(run):
    data = run.lab.data
    for o in ('corpus.jsonl', 'train.jsonl'): append(data/o, dict(_id='x', text='y') if o[0] == 'c' else dict(query='a', passage='b', label=1))
    for read in (lambda: list(CorpusTexts(data/'corpus.jsonl')), lambda: read_rows('data/train.jsonl'), lambda: open_data(data/'train.jsonl').read(), lambda: [*open_data(data/'train.jsonl')]):
        with pytest.raises(LabError, match='has changed since the run began'): read()
    run.record(status='interrupted')
    assert read_folder(data) and not frozen_files.folders

def test_a_run_that_trains_nothing_may_have_other_rows_to_train_on(lab, monkeypatch):
    monkeypatch.chdir(lab)
    emb('new', 'exp_09', '--recipe', 'untuned', cwd=lab)
    run = start(dict(seed=None, model=None), 'exp_09')
    append(lab/'data'/'train.jsonl')
    assert list(read_folder(lab/'data', train=False)) == ['gold', 'corpus']
    run.record(status='failed')

# between planning and starting

def test_a_kernel_refuses_what_was_not_planned(lab, monkeypatch):
    monkeypatch.chdir(lab)
    planned = plan(read_lab(lab), exp, {})
    monkeypatch.setenv('EMB_FROZEN', frozen_text(planned.inputs))
    start(dict(seed=None, model=None), exp).record(status='failed')
    append(lab/'data'/'dev.jsonl')
    with pytest.raises(LabError, match=r'^data/dev.jsonl has changed \(120 rows, now 121\) since this was planned; put that back, or start the same command again$'): start(dict(seed=None, model=None), exp)

def edited(lab, cell):
    "An experiment that does something to its lab in its last cell but one"
    nb = lab/'experiments'/f'{exp}.ipynb'
    d = json.loads(nb.read_text())
    d['cells'].insert(len(d['cells']) - 1, dict(cell_type='code', id='edit', metadata={}, outputs=[], execution_count=None, source=cell))
    nb.write_text(json.dumps(d))

def test_a_sweep_refuses_the_points_after_a_change(lab):
    edited(lab, "if run.seed == 1:\n    with open(run.lab.data/'dev.jsonl', 'a') as f: f.write('{\"query\": \"a\", \"passage\": \"b\", \"label\": 1}\\n')")
    res = emb('sweep', exp, '-g', 'seed=1,2', '--json', cwd=lab, ok=None)
    said = {o['run']: o for o in json.loads(res.stdout)['points']}
    assert res.returncode == 1 and said[f'{exp},seed=1']['status'] == 'completed'
    assert said[f'{exp},seed=2']['status'] == 'failed' and said[f'{exp},seed=2']['error'].startswith('data/dev.jsonl has changed (120 rows, now 121) since this was planned')
    assert not (lab/'results'/f'{exp},seed=2').exists()

# what a file says

def test_content_is_what_is_judged(lab):
    data = lab/'data'
    (data/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\n')
    (data/'qrels.tsv').unlink()
    write_rows(data/'guard.jsonl', read_rows(data/'gold.jsonl')[:50])
    names = 'gold.jsonl', 'corpus.jsonl', 'guard.jsonl'
    def contents(): return {k.removesuffix('.gz'): v['content'] for k,v in checked_facts(data)[0].items()}
    def same(): return [o for o in names if contents()[o] == first[o]]
    def change(f):
        for o in names: f(data/o)
    first = contents()
    change(lambda o: o.write_bytes(b''.join(reversed(o.read_bytes().splitlines(True)))))
    assert same() == [*names]
    change(lambda o: o.write_bytes(o.read_bytes().replace(b'\n', b'\r\n')))
    assert same() == [*names]
    change(lambda o: o.write_text(''.join(json.dumps(dict(reversed(json.loads(i).items())), indent=None, separators=(' , ', ' : '), ensure_ascii=True) + '\n' for i in o.read_text().splitlines())))
    assert same() == [*names]
    write_rows(data/'gold.jsonl', [o | dict(tags=['a'], score=o['label']) for o in read_rows(data/'gold.jsonl')])
    assert same() == [*names]
    change(zipped)
    assert same() == [*names]
    for o in names:
        rows = [json.loads(i) for i in gzip.decompress((data/f'{o}.gz').read_bytes()).splitlines()]
        changed = [rows[0] | (dict(title='new') if o[0] == 'c' else dict(label=1 - rows[0]['label'], score=None)), *rows[1:]]
        (data/f'{o}.gz').write_bytes(gzip.compress(b''.join(json.dumps(i).encode() + b'\n' for i in changed)))
        assert o not in same()

def test_train_and_dev_are_known_by_their_bytes_without_gzip(lab):
    data = lab/'data'
    first = data_facts(data)
    for o in ('train.jsonl', 'dev.jsonl'): zipped(data/o)
    now = data_facts(data)
    for o in ('train.jsonl', 'dev.jsonl'): assert now[f'{o}.gz']['content'] == first[o]['content'] == first[o]['sha256'] and now[f'{o}.gz']['sha256'] == file_hash(data/f'{o}.gz')
    with gzip.open(data/'train.jsonl.gz', 'ab') as f: f.write(b'{"query": "a", "passage": "b", "label": 1}\n')
    assert data_facts(data)['train.jsonl.gz']['content'] != first['train.jsonl']['content']

def test_hashes_are_those_of_the_files_however_they_are_stored(lab):
    data = lab/'data'
    (data/'train.jsonl').write_bytes(b'\xef\xbb\xbf' + (data/'train.jsonl').read_bytes().replace(b'\n', b'\r\n').rstrip() + b'\r\n\r\n')
    (data/'dev.jsonl.gz').write_bytes(b''.join(gzip.compress(o) for o in (data/'dev.jsonl').read_bytes().splitlines(True)))
    (data/'dev.jsonl').unlink()
    facts, n = data_facts(data), {}
    assert {k: v['sha256'] for k,v in facts.items()} == {k: file_hash(data/k) for k in facts} and [o['lines'] for o in facts.values()][:3] == [600, 120, 120]

def test_a_completed_run_stays_up_to_date_when_its_data_say_the_same(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    def done(): return plan(read_lab(lab), exp, dict(epochs=12, lr=.01)).done
    path, gold = whole_run_path(lab), lab/'data'/'gold.jsonl'
    gold.write_bytes(b''.join(reversed(gold.read_bytes().splitlines(True))))
    zipped(lab/'data'/'corpus.jsonl')
    assert done()
    m = manifest(path)
    for o in m['inputs']['data'].values(): o.pop('content')
    (path/'run.json').write_text(json.dumps(m))
    assert not done() # a run of before contents were recorded knows bytes alone
    shutil.copytree(whole/'data', lab/'data', dirs_exist_ok=True)
    (lab/'data'/'corpus.jsonl.gz').unlink()
    assert done()
    write_rows(gold, [o | dict(label=1) for o in read_rows(gold)][1:])
    assert not done()

def test_bytes_that_are_no_rows_have_a_hash_too(lab):
    for o in (b'', b'\xff\xfe\0', b'{"a": 1}\n', b'\x1f\x8b'):
        (lab/'data'/'gold.jsonl').write_bytes(o)
        assert data_facts(lab/'data')['gold.jsonl']['sha256'] == file_hash(lab/'data'/'gold.jsonl')
    (lab/'data'/'gold.jsonl').rename(lab/'data'/'gold.jsonl.gz')
    assert data_facts(lab/'data')['gold.jsonl.gz']['sha256'] == file_hash(lab/'data'/'gold.jsonl.gz')

def test_adding_up_hashes_loses_nothing():
    rows = [[i, 'x'*i] for i in range(3000)]
    def of(*blocks):
        res = ContentHash()
        for o in blocks: res.add(o)
        return str(res)
    assert of(rows) == of(rows[2000:], [], rows[:2000]) != of(rows[1:]) and of(rows, rows) != of(rows)

# the base model

@pytest.mark.parametrize('file', ['model.safetensors', 'tokenizer.json'])
def test_a_base_model_that_is_edited_after_the_start_is_refused(lab, base, monkeypatch, tmp_path, file):
    from embed_lab.training.weights import base_model
    monkeypatch.chdir(lab)
    own = shutil.copytree(base, lab/'own')
    run = start(dict(seed=None, model='own'), exp)
    found = next(own.rglob(file))
    os.utime(found)
    (own/'README.md').write_text('another card')
    assert base_model(run, None)
    other = bytearray(found.read_bytes())
    if file == 'model.safetensors': other[-1] ^= 1
    else: other += b' '
    found.write_bytes(other)
    with pytest.raises(LabError, match=f'{file} has changed since the run began; run it again$'): base_model(run, None)
    run.record(status='failed')

@pytest.mark.parametrize('file', ['tokenizer.json', 'modules.json'])
def test_what_is_planned_holds_what_its_models_read_besides_weights(lab, base, monkeypatch, file):
    monkeypatch.chdir(lab)
    shutil.copytree(base, lab/'own')
    def planned(frozen=''): return plan(read_lab(lab), exp, dict(model='own'), frozen=frozen)
    frozen, found = planned().frozen, next((lab/'own').rglob(file))
    (lab/'own'/'README.md').write_text('another card')
    os.utime(found)
    monkeypatch.setenv('EMB_FROZEN', frozen)
    start(dict(seed=None, model='own'), exp).record(status='failed')
    found.write_bytes(found.read_bytes() + b' ')
    for act in (lambda: planned(frozen), lambda: start(dict(seed=None, model='own'), exp)):
        with pytest.raises(LabError, match=f"^the base model's {file} has changed since this was planned; put that back, or start the same command again$"): act()
    assert planned().frozen != frozen

def test_the_models_that_parameters_name_are_held_too(lab, base, monkeypatch):
    monkeypatch.chdir(lab)
    new_experiment(read_lab(lab), 'exp_03', find_recipe('hard-negatives'))
    shutil.copytree(base, lab/'miner')
    frozen = plan(read_lab(lab), 'exp_03', dict(miner='miner')).frozen
    (lab/'miner'/'tokenizer.json').unlink()
    with pytest.raises(LabError, match="^`miner`'s tokenizer.json is gone since this was planned"): plan(read_lab(lab), 'exp_03', dict(miner='miner'), frozen=frozen)

def test_a_sweep_hands_every_point_what_its_base_model_was(lab, base):
    from embed_lab.runs.sweep import _frozen, plan_points
    shutil.copytree(base, lab/'own')
    one, two = plan_points(read_lab(lab), exp, [dict(model='own', seed=o) for o in (1, 2)])
    told = _frozen(one)['EMB_FROZEN']
    assert told == _frozen(two)['EMB_FROZEN'] == one.plan.frozen
    (lab/'own'/'tokenizer.json').write_text((lab/'own'/'tokenizer.json').read_text() + ' ')
    with pytest.raises(LabError, match="the base model's tokenizer.json has changed"): plan(read_lab(lab), exp, two.plan.given, frozen=told)
