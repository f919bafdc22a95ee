"An archive is whole, closed, and says what is in it"
import gzip, json, os, shutil, subprocess, tarfile
import pytest
from fastcore.nbio import mk_cell, new_nb, write_nb
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import file_hash, write_json, write_rows
from embed_lab.data.task import text_hash
from embed_lab.evaluation.archive import Archive, archive_place, pack_run
from embed_lab.evaluation.reproduce import reproduce
from embed_lab.lab import LabError, read_lab
from embed_lab.models.base import tiny_model, weights_hash
from embed_lab.runs.execute import execute, plan
from support import manifest, write_manifest

name, token = 'exp_01_count,times=2', 'hf_' + '47'*10
rows = {k: [dict(query=f'{k} asks question number {i}', passage=f'{k} knows answer number {i}', label=1) for i in range(3)] for k in ('train', 'dev', 'gold')}
cells = ['from embed_lab.runs.record import start\nrun = start(globals())', f"print('hf_' + '47'*10)\nprint(open('data/gold.jsonl').read())", "from inventory.counting import twice\nfrom embed_lab.data.files import write_json\nwrite_json(run.eval/'gold_metrics.json', dict(systems={}))\nrun.finish(rows=twice(times))"]

@pytest.fixture(scope='session')
def counted(tmp_path_factory):
    "A lab with a run that counts, shows gold and prints a token; tests copy it"
    home = tmp_path_factory.mktemp('counted')/'lab'
    for k,o in rows.items(): write_rows(home/'data'/f'{k}.jsonl', o)
    (home/'settings.ini').write_text('[DEFAULT]\nmodel = ./base\n')
    (home/'pyproject.toml').write_text('[tool.nbdev]\n')
    for o in ('experiments', 'nbs', 'inventory'): (home/o).mkdir()
    (home/'inventory'/'counting.py').write_text('def twice(n): return 2*n\n')
    tiny_model([' '.join(o.values() if isinstance(o, str) else map(str, o.values())) for k in rows.values() for o in k]).save_pretrained(str(home/'base'))
    params = mk_cell('times: int = 1\nseed: int|None = None\nmodel: str|None = None\nteacher: str = ""')
    params['metadata'] = dict(tags=['parameters'])
    shown = mk_cell('1')
    shown['outputs'] = [dict(output_type='stream', name='stdout', text=f"{rows['train'][0]['query']}\n")]
    nb = new_nb([params, *map(mk_cell, cells)])
    nb['metadata']['kernelspec'] = dict(name='python3', display_name='python3', language='python')
    write_nb(nb, home/'experiments'/'exp_01_count.ipynb')
    write_nb(new_nb([shown]), home/'nbs'/'00_counting.ipynb')
    execute(plan(read_lab(home), 'exp_01_count', dict(times=2)))
    path = home/'results'/name
    hit = dict(id='d0', score=.5, grade=1, text=text_hash(rows['gold'][0]['passage']))
    for k in ('per_query', 'guard_per_query'): write_rows(path/'eval'/f'{k}.jsonl', [dict(query_id=f'q{i}', query=o['query'], tags=['a'], base=dict(scores={'ndcg@10': 1.}, hits=[hit])) for i,o in enumerate(rows['gold'])])
    for k in ('guard_metrics', 'slices'): write_json(path/'eval'/f'{k}.json', dict(systems={}))
    write_rows(path/'history.jsonl', [dict(step=1, loss=.5)])
    (path/'plots').mkdir()
    write_manifest(path, manifest(path) | dict(warnings=[f"the query `{rows['gold'][1]['query']}` has no positive"]))
    return home

@pytest.fixture
def lab(counted, tmp_path): return read_lab(shutil.copytree(counted, tmp_path/'lab', symlinks=True))

def change(lab, **facts): write_manifest(lab.results/name, manifest(lab.results/name) | facts)
def inputs(lab, **facts): change(lab, inputs=manifest(lab.results/name)['inputs'] | facts)

def refused(lab, data=False):
    with pytest.raises(LabError) as e: pack_run(lab, name, data)
    assert '\n' not in str(e.value)
    return str(e.value)

def packed(lab, to, data=False):
    "An archive, written and unpacked"
    pack_run(lab, name, data).write(to/'run.tar.gz')
    with tarfile.open(to/'run.tar.gz') as tar: tar.extractall(to/'there', filter='data')
    return to/'there'/name

def everything(folder): return b''.join(o.read_bytes() for o in folder.rglob('*') if o.is_file())

# whole

@pytest.mark.parametrize('data', [True, False])
def test_it_is_one_folder_of_regular_files_that_runs_again(lab, tmp_path, data):
    there = packed(lab, tmp_path, data)
    with tarfile.open(tmp_path/'run.tar.gz') as tar: members = tar.getmembers()
    assert all(o.isreg() and o.name.startswith(f'{name}/') and '..' not in o.name and (o.uid, o.gid, o.uname, o.mode) == (0, 0, '', 0o644) for o in members)
    assert len({o.name for o in members}) == len(members) and {o.name.split('/', 1)[1] for o in members} == set(pack_run(lab, name, data).members)
    if not data: shutil.copytree(lab.data, there/'data')
    lab.path.rename(tmp_path/'gone')
    assert reproduce(read_lab(there), name).word == 'IDENTICAL'

def test_gnu_tar_unpacks_it_too(lab, tmp_path):
    pack_run(lab, name, True).write(tmp_path/'run.tar.gz')
    res = subprocess.run(['tar', 'xzf', tmp_path/'run.tar.gz', '-C', tmp_path], capture_output=True, text=True)
    assert (res.returncode, res.stderr) == (0, '') and (tmp_path/name/'data'/'gold.jsonl').read_bytes() == (lab.data/'gold.jsonl').read_bytes()

def test_the_same_run_gives_the_same_bytes(lab, tmp_path):
    pack_run(lab, name, True).write(tmp_path/'a.tar.gz')
    for o in lab.path.rglob('*'): os.utime(o, (1, 1))
    os.chmod(lab.path/'settings.ini', 0o600)
    pack_run(lab, name, True).write(tmp_path/'b.tar.gz')
    assert (tmp_path/'a.tar.gz').read_bytes() == (tmp_path/'b.tar.gz').read_bytes()

def test_a_writer_that_is_stopped_leaves_the_old_archive_and_nothing_else(lab, tmp_path, monkeypatch):
    (tmp_path/'out').mkdir()
    (tmp_path/'out'/'run.tar.gz').write_bytes(b'old')
    res = pack_run(lab, name, True)
    with open(lab.data/'gold.jsonl', 'a') as f: f.write('\n')
    with pytest.raises(LabError, match='gold.jsonl has changed since it was listed'): res.write(tmp_path/'out'/'run.tar.gz')
    assert {o.name: o.read_bytes() for o in (tmp_path/'out').iterdir()} == {'run.tar.gz': b'old'}

@pytest.mark.parametrize('file', ['settings.ini', 'data/train.jsonl', 'data', 'nowhere/run.tar.gz', 'run.tar'])
def test_no_file_of_the_lab_is_replaced_by_a_slip(lab, file):
    with pytest.raises(LabError): archive_place(lab.path/file)

# closed

def test_a_link_inside_is_packed_by_its_content(lab, tmp_path):
    (lab.nbs/'00_counting.ipynb').rename(lab.path/'elsewhere.ipynb')
    (lab.nbs/'00_counting.ipynb').symlink_to('../elsewhere.ipynb')
    (lab.path/'base'/'tokenizer.json').rename(lab.path/'words.json')
    (lab.path/'base'/'tokenizer.json').symlink_to('../words.json')
    there = packed(lab, tmp_path)
    assert not any(o.is_symlink() for o in there.rglob('*')) and 'question' in (there/'base'/'tokenizer.json').read_text() and (there/'nbs'/'00_counting.ipynb').is_file()

@pytest.mark.parametrize('place', ['nbs/01_more.ipynb', f'results/{name}/eval/slices.json', f'results/{name}/exp_01_count.ipynb', 'base/vocab.txt', 'pyproject.toml'])
@pytest.mark.parametrize('target, why', [('outside', 'outside the lab'), ('nowhere', 'leads nowhere'), ('itself', 'leads nowhere'), ('folder', 'not a regular file')])
def test_a_link_elsewhere_is_named(lab, tmp_path, place, target, why):
    (tmp_path/'outside').write_text('-----BEGIN PRIVATE KEY-----')
    (lab.path/'folder').mkdir()
    link = lab.path/place
    link.unlink(missing_ok=True)
    link.symlink_to(dict(outside=tmp_path/'outside', nowhere=tmp_path/'nowhere', itself=link, folder=lab.path/'folder')[target])
    said = refused(lab)
    assert place in said and why in said

def test_data_behind_a_link_is_the_data_of_the_lab(lab, tmp_path):
    lab.data.rename(tmp_path/'big')
    lab.data.symlink_to(tmp_path/'big')
    assert (packed(lab, tmp_path, True)/'data'/'gold.jsonl').read_bytes() == (tmp_path/'big'/'gold.jsonl').read_bytes()
    (tmp_path/'big'/'gold.jsonl').rename(tmp_path/'gold.jsonl')
    (tmp_path/'big'/'gold.jsonl').symlink_to('../gold.jsonl')
    assert 'gold.jsonl' in refused(lab, True)

def test_folders_outside_come_inside(lab, tmp_path):
    for o in ('data', 'results'): (lab.path/o).rename(tmp_path/f'my_{o}')
    (lab.path/'settings.ini').write_text(f"[DEFAULT]\nmodel = ./base\ndata = ../my_data\nresults = {tmp_path/'my_results'}\n")
    there = packed(read_lab(lab.path), tmp_path, True)
    assert (there/'settings.ini').read_text() == '[DEFAULT]\nmodel = ./base\ndata = data\nresults = results\n'
    assert (there/'data'/'gold.jsonl').is_file() and reproduce(read_lab(there), name).word == 'IDENTICAL'

@pytest.mark.parametrize('key', ['nbs', 'inventory', 'experiments'])
def test_code_outside_is_refused(lab, tmp_path, key):
    (lab.path/key).rename(tmp_path/key)
    (lab.path/key).symlink_to(tmp_path/key)
    assert 'outside the lab' in refused(lab)

@pytest.mark.parametrize('data', ['../../key.jsonl', '/etc/hostname', '../key', '.', 'key', '../data/gold.jsonl', 'gold.jsonl/../../key', 'sub/gold.jsonl'])
@pytest.mark.parametrize('packs', [True, False])
def test_a_manifest_names_no_other_file(lab, data, packs):
    (lab.path/'key').write_text('-----BEGIN PRIVATE KEY-----')
    m = manifest(lab.results/name)['inputs']['data']
    inputs(lab, data=m | {data: dict(sha256=file_hash(lab.path/'key'), lines=1)})
    if packs: assert 'key' in refused(lab, True) or 'cannot be packed' in refused(lab, True) or 'names the data file' in refused(lab, True)
    else: assert not any('key' in k or 'hostname' in k for k in pack_run(lab, name).members)

@pytest.mark.parametrize('code', ['../key.py', '/etc/hostname', 'key', 'data/gold.jsonl', '../lab/../key.py', '/key.py', 'gone.py', 'out.py', ''])
def test_a_manifest_names_no_other_code(lab, tmp_path, code):
    for o in (tmp_path/'key.py', lab.path/'key'): o.write_text('secret = 1\n')
    (lab.path/'out.py').symlink_to(tmp_path/'key.py')
    inputs(lab, imported={code: file_hash(tmp_path/'key.py')})
    refused(lab)

def test_code_of_the_root_that_was_imported_goes_along(lab, tmp_path):
    (lab.path/'more').mkdir()
    (lab.path/'more'/'rows.py').write_text('half = 2\n')
    inputs(lab, imported={'more/rows.py': file_hash(lab.path/'more'/'rows.py')})
    assert (packed(lab, tmp_path)/'more'/'rows.py').read_text() == 'half = 2\n'
    (lab.path/'more'/'rows.py').write_text('half = 3\n')
    assert 'more/rows.py has changed' in refused(lab)

@pytest.mark.parametrize('model', ['.', 'data', 'secrets', '..', '/etc', '/', 'results', '\0', '~', 'x'*5000])
@pytest.mark.parametrize('at', ['model', 'teacher'])
def test_a_manifest_names_no_other_folder(lab, model, at):
    (lab.path/'secrets').mkdir()
    for o in ('id_rsa', 'config.json', 'tokenizer.json'): (lab.path/'secrets'/o).write_text('{}')
    i = manifest(lab.results/name)['inputs']
    inputs(lab, parameters=i['parameters'] | {at: model}, **(dict(models=dict(teacher=i['base_model'])) if at == 'teacher' else {}))
    try: members = pack_run(lab, name).members
    except LabError as e: assert '\n' not in str(e)
    else: assert not any('id_rsa' in k or 'secrets' in k or 'hostname' in k or 'data/' in k for k in members)

@pytest.mark.parametrize('experiment', ['../key', '/etc/hostname', '..', '', 'exp_02', '../experiments/exp_01_count'])
def test_a_manifest_names_no_other_notebook(lab, experiment):
    write_nb(new_nb([mk_cell('1')]), lab.path/'key.ipynb')
    change(lab, experiment=experiment)
    try: members = pack_run(lab, name).members
    except LabError as e: assert '\n' not in str(e)
    else: assert not any('key' in k or 'hostname' in k or '..' in k for k in members)

@pytest.mark.parametrize('facts', [dict(inputs=[]), dict(inputs=dict(parameters=3)), dict(experiment=3), dict(environment=None), dict(git='x'), dict(outcome=[]), dict(warnings=3), dict(attempts='x'), dict(overrides=[]), dict(end='then'), dict(end=3), dict(outcome=dict(weights=3))])
def test_a_damaged_manifest_is_one_line_or_none(lab, facts):
    change(lab, **facts)
    try: pack_run(lab, name)
    except LabError as e: assert '\n' not in str(e)

def test_of_a_model_only_its_own_files_go_along(lab, tmp_path):
    for o in ('id_rsa', '.env', 'notes.txt', 'optimizer.pt', 'secrets.json', 'modeling_x.py', 'sub/id_rsa', '.git/config.json'):
        (lab.path/'base'/o).parent.mkdir(exist_ok=True)
        (lab.path/'base'/o).write_text('{}')
    there = packed(lab, tmp_path)
    own = {o.name for o in (there/'base').rglob('*') if o.is_file()}
    assert {'model.safetensors', 'modules.json', 'tokenizer.json'} <= own and not own & {'id_rsa', '.env', 'notes.txt', 'optimizer.pt', 'secrets.json', 'modeling_x.py'} and not (there/'base'/'.git').exists()

@pytest.mark.parametrize('content', ['-----BEGIN OPENSSH PRIVATE KEY-----\nb3\n', 'not json'])
def test_a_key_named_like_a_file_of_a_model_is_refused(lab, content):
    (lab.path/'base'/'tokenizer_config.json').write_text(content)
    assert 'tokenizer_config.json' in refused(lab)

def test_another_model_in_its_place_is_refused(lab):
    tiny_model(['other words'], seed=3).save_pretrained(str(lab.path/'base'))
    assert 'base cannot be packed: its weights are not those' in refused(lab)

def test_models_outside_the_lab_go_along_and_are_found_there(lab, tmp_path):
    (lab.path/'base').rename(tmp_path/'shared')
    tiny_model(['a teacher']).save_pretrained(str(tmp_path/'teacher'))
    i = manifest(lab.results/name)['inputs']
    params = i['parameters'] | dict(model=str(tmp_path/'shared'), teacher=str(tmp_path/'teacher'))
    inputs(lab, parameters=params, models=dict(teacher=weights_hash(tmp_path/'teacher')))
    there = packed(lab, tmp_path, True)
    assert manifest(there/'results'/name)['inputs']['parameters'] == params
    for o in ('shared', 'teacher'): (tmp_path/o).rename(tmp_path/f'{o}_gone')
    assert reproduce(read_lab(there), name).word == 'IDENTICAL'
    assert manifest(there/'results'/'reproduced'/name)['inputs']['parameters'] == params | dict(model='packed_models/model', teacher='packed_models/teacher')

def test_gzipped_data_go_along_under_their_name(lab, tmp_path):
    (lab.data/'gold.jsonl.gz').write_bytes(gzip.compress((lab.data/'gold.jsonl').read_bytes(), mtime=0))
    (lab.data/'gold.jsonl').unlink()
    m = manifest(lab.results/name)['inputs']['data']
    inputs(lab, data={k: v for k,v in m.items() if k != 'gold.jsonl'} | {'gold.jsonl.gz': m['gold.jsonl'] | dict(sha256=file_hash(lab.data/'gold.jsonl.gz'))})
    assert 'data/gold.jsonl.gz' in pack_run(lab, name, True).members

# without data

def test_no_text_of_the_data_goes_along(lab, tmp_path):
    path = lab.results/name
    (path/'eval'/'errors.csv').write_text(rows['gold'][0]['query'])
    (path/'dirty.patch.gz').write_bytes(gzip.compress(rows['gold'][0]['query'].encode()))
    nb = json.loads((lab.experiments/'exp_01_count.ipynb').read_text())
    nb['cells'][1]['outputs'] = [dict(output_type='execute_result', data={'text/html': rows['dev'][0]['passage']}, metadata={}, execution_count=1)]
    nb['metadata']['widgets'] = dict(state=rows['dev'][1]['passage'])
    (lab.experiments/'exp_01_count.ipynb').write_text(json.dumps(nb))
    assert rows['gold'][0]['query'] in (path/'exp_01_count.ipynb').read_text() and rows['gold'][1]['query'] in (path/'run.json').read_text()
    there = packed(lab, tmp_path)
    found = everything(there)
    assert not [t for k in rows.values() for o in k for t in (o['query'], o['passage']) if t.encode() in found]
    lines = [json.loads(o) for o in (there/'results'/name/'eval'/'per_query.jsonl').read_text().splitlines()]
    assert [o['query'] for o in lines] == [text_hash(o['query']) for o in rows['gold']] and lines[0]['base']['scores'] == {'ndcg@10': 1.} and lines[0]['tags'] == ['a']
    assert manifest(there/'results'/name)['warnings'] == ['left out with the data'] and manifest(there/'results'/name)['archived'] == dict(data=False, models={})
    notes = '\n'.join(pack_run(lab, name).notes)
    assert all(o in notes for o in ('eval/errors.csv', 'dirty.patch.gz', 'plots', 'without data'))

@pytest.mark.parametrize('data', [True, False])
def test_a_copy_is_compared_only_with_what_is_in_it(lab, tmp_path, data):
    one = dict(sha256='sha256:0', size=1, time=1)
    change(lab, files={k: one for k in ('final/model.safetensors', 'eval/per_query.jsonl', 'eval/slices.json', 'exp_01_count.ipynb')})
    assert set(manifest(packed(lab, tmp_path, data)/'results'/name)['files']) == {'eval/slices.json', *(['eval/per_query.jsonl'] if data else [])}

def test_a_tag_or_an_id_that_is_a_text_is_left_out_with_its_file(lab):
    path = lab.results/name
    write_json(path/'eval'/'slices.json', {'tag': {rows['train'][2]['passage']: 1}})
    write_rows(path/'eval'/'per_query.jsonl', [dict(query_id=rows['gold'][0]['query'], query='x', base=dict(scores={}, hits=[]))])
    res = pack_run(lab, name)
    assert not [k for k in res.members if k.endswith(('slices.json', '/per_query.jsonl'))] and len([o for o in res.notes if 'quotes the data' in o]) == 2

def test_code_that_quotes_the_data_is_packed_and_named(lab):
    write_nb(new_nb([mk_cell(f"ask({rows['gold'][0]['query']!r})")]), lab.nbs/'05_more.ipynb')
    res = pack_run(lab, name)
    assert 'nbs/05_more.ipynb' in res.members and 'nbs/05_more.ipynb quotes the data in its code, which is packed as it is' in res.notes

@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'{"query_id": 1}\n', b'[]\n', b'null\n', b'{"query_id":"q","query":3,"base":{}}\n', b'{"query_id":"q","query":"x","base":{"scores":{},"hits":[{"id":1}]}}\n'])
def test_scores_that_cannot_be_read_are_left_out(lab, content):
    (lab.results/name/'eval'/'per_query.jsonl').write_bytes(content)
    assert content == b'' or not any(k.endswith('/per_query.jsonl') for k in pack_run(lab, name).members)

def test_scores_that_were_edited_are_refused(lab):
    write_json(lab.results/name/'eval'/'gold_metrics.json', dict(systems=dict(tuned=1)))
    assert 'gold_metrics.json has changed since the run' in refused(lab)

# secrets

def test_what_a_cell_printed_is_packed_without_its_token(lab, tmp_path):
    done = lab.results/name/'exp_01_count.ipynb'
    done.write_text(done.read_text().replace('***', token)) # as a plain papermill leaves it
    there = packed(lab, tmp_path, True)
    kept = (there/'results'/name/'exp_01_count.ipynb').read_text()
    assert token in done.read_text() and token.encode() not in everything(there) and '***' in kept and rows['gold'][0]['query'] in kept

@pytest.mark.parametrize('place', ['settings.ini', 'pyproject.toml', 'inventory/counting.py', 'nbs/00_counting.ipynb'])
def test_a_secret_in_code_is_named_and_not_packed(lab, place):
    file = lab.path/place
    if file.suffix == '.ipynb': write_nb(new_nb([mk_cell('1'), mk_cell(f'token = "{token}"')]), file)
    else: file.write_text(file.read_text() + f'# key = {token}\n')
    if file.suffix == '.py': inputs(lab, inventory={'inventory/counting.py': file_hash(file)})
    said = refused(lab)
    assert place in said and 'a Hugging Face token' in said and token not in said

@pytest.mark.parametrize('facts', [dict(warnings=[f'401 for {token}']), dict(stages=dict(x=dict(y=token))), dict(git=dict(commit='0'*40, branch='main', remote=f'https://h/x?private_token=4711', dirty=None, untracked=[]))])
def test_an_old_manifest_is_cleaned_again(lab, tmp_path, facts):
    change(lab, **facts)
    said = (packed(lab, tmp_path)/'results'/name/'run.json').read_text()
    assert token not in said and '4711' not in said.replace('47114711', '') and '***' in said

def test_a_secret_in_the_metadata_of_a_notebook_is_refused(lab):
    nb = json.loads((lab.nbs/'00_counting.ipynb').read_text())
    nb['metadata']['colab'] = dict(key=token)
    (lab.nbs/'00_counting.ipynb').write_text(json.dumps(nb))
    assert 'nbs/00_counting.ipynb, metadata' in refused(lab)

def test_a_parameter_with_a_secret_is_refused(lab):
    inputs(lab, parameters=manifest(lab.results/name)['inputs']['parameters'] | dict(teacher=token))
    assert 'parameter `teacher` looks like a Hugging Face token' in refused(lab)

# stars of an earlier version

def test_a_run_recorded_with_stars_asks_for_the_value(lab):
    inputs(lab, parameters=manifest(lab.results/name)['inputs']['parameters'] | dict(model='***'))
    with pytest.raises(LabError, match='recorded with stars for a part of `model`; give its value with -p model VALUE'): reproduce(lab, name)

# what is in it, shown first

def told(lab, monkeypatch, *args):
    monkeypatch.chdir(lab.path)
    return CliRunner().invoke(app, ['reproduce', name, '--archive', *args])

def test_the_list_is_shown_before_anything_is_written(lab, tmp_path, monkeypatch):
    file, seen = tmp_path/'run.tar.gz', []
    write = Archive.write
    monkeypatch.setattr(Archive, 'write', lambda self, to: (seen.append(file.exists()), write(self, to)))
    res = told(lab, monkeypatch, str(file), '--data')
    lines = res.stdout.splitlines()
    with tarfile.open(file) as tar: sizes = {o.name: o.size for o in tar.getmembers()}
    listed = {k: int(n.replace(',', '')) for n,k in (o.strip().split('  ', 1) for o in lines[:len(sizes)])}
    assert res.exit_code == 0 and seen == [False] and listed == sizes and lines[-1].startswith(f'wrote {file}: {len(sizes)} files, ')
    monkeypatch.setattr(Archive, 'write', lambda self, to: (_ for _ in ()).throw(OSError(28, 'No space left on device', str(to))))
    res = told(lab, monkeypatch, str(file))
    assert res.exit_code == 2 and f'{name}/README.md' in res.stdout and 'without data' in res.stdout

def test_the_list_as_json(lab, tmp_path, monkeypatch):
    res = told(lab, monkeypatch, str(tmp_path/'run.tgz'), '--json')
    said = json.loads(res.stdout)
    assert said['folder'] == name and said['bytes'] == sum(o['bytes'] for o in said['files']) and any('without data' in o for o in said['notes'])
    with tarfile.open(tmp_path/'run.tgz') as tar: assert {o.name: o.size for o in tar.getmembers()} == {f"{name}/{o['name']}": o['bytes'] for o in said['files']}

def test_no_name_controls_the_terminal(lab):
    (lab.results/name/'eval'/'a\x1b[2J\n.csv').touch()
    assert not any('\x1b' in o or '\n' in o for o in pack_run(lab, name).lines())
