"A run's manifest is complete and free of secrets, and what it promises can be had again"
import gzip, hashlib, json, os, shutil, subprocess
import jsonschema, pytest
from embed_lab.lab import toolkit_requirement
from support import change_cell, change_code, content, emb, exp, manifest, sh, whole_run_path as name

run = f'{exp},epochs=12,lr=0.01'

@pytest.fixture
def lab(whole, tmp_path): return shutil.copytree(whole, tmp_path/'lab')

def again(lab, *args, ok, **env):
    res = json.loads(emb('reproduce', run, *args, '--json', cwd=lab, ok=ok, **env).stdout)
    return res['verdict'], res['cause'], res['changed'][0]['what'] if res['changed'] else '', res

# the manifest

def test_the_manifest_keeps_its_schema_and_names_everything(lab):
    schema = json.loads(emb('ls', '--schema', cwd=lab).stdout)
    m = manifest(name(lab))
    jsonschema.validate(m, schema)
    with pytest.raises(jsonschema.ValidationError): jsonschema.validate(m | dict(status='done'), schema)
    props = schema['$defs']['Manifest']['properties']
    assert m.keys() <= props.keys()
    i, hw = m['inputs'], m['hardware']
    assert set(i['inventory']) == {f'inventory/{o}.py' for o in ('datasets', 'preprocess', 'train', 'evaluate', 'plotting')}
    assert {k: v['lines'] for k,v in i['data'].items()} == {f'{k}.jsonl': n for k,n in dict(train=600, dev=120, gold=120, corpus=m['documents']).items()}
    assert all(v['sha256'] == 'sha256:' + hashlib.sha256((lab/'data'/k).read_bytes()).hexdigest() for k,v in i['data'].items())
    assert i['parameters']['seed'] == 42 and m['overrides'] == dict(epochs=12, lr=.01) and hw['device'] and hw['precision'] and hw['threads'] and hw['cpus']
    assert {'torch', 'sentence-transformers', 'embed-lab'} <= m['environment']['packages'].keys() and m['git'] is None

def test_every_status_keeps_the_schema(lab):
    schema, seen = json.loads(emb('ls', '--schema', cwd=lab).stdout), set()
    emb('run', exp, '-p', 'lr', '3e38', cwd=lab, ok=1)
    died = lab/'results'/'died'
    shutil.copytree(name(lab), died)
    (died/'run.json').write_text(json.dumps(manifest(died) | dict(status='running', process=dict(pid=1, born=0, host=manifest(died)['process']['host']))))
    for o in json.loads(emb('ls', '--json', cwd=lab).stdout).values():
        jsonschema.validate(o, schema)
        seen.add(o['status'])
    assert seen == {'completed', 'failed', 'killed'}

def test_secrets_stay_out_and_the_dirty_diff_is_kept(lab):
    token = 'hf_0123456789abcdefghij'
    def git(*args): return sh('git', '-c', 'user.name=a', '-c', 'user.email=a@b', *args, cwd=lab).stdout.strip()
    git('init', '-q'); git('add', '.'); git('commit', '-qm', 'first'); git('remote', 'add', 'origin', f'https://me:{token}@host.invalid/lab.git?private_token=4711')
    cell = f"print('{token}'); raise ValueError('{token} at https://me:password@host.invalid/x')"
    nb = lab/'experiments'/f'{exp}.ipynb'
    nb.write_text(nb.read_text().replace('run.finish(**scores.headline())', cell.replace("'", "\\u0027")))
    model = manifest(name(lab))['inputs']['parameters']['model'] # a folder
    emb('run', exp, '-p', 'lr', .02, cwd=lab, ok=1, HF_TOKEN=token, TOKENIZER=model, GIT_AUTHOR_NAME='in_batch', MODEL_TOKEN=model)
    out = lab/'results'/f'{exp},lr=0.02'
    said, m = (out/'run.json').read_text(), manifest(out)
    assert token not in said and 'password' not in said and m['error'].startswith('ValueError: *** at https://***@host.invalid/x (cell ')
    assert m['inputs']['parameters'] == manifest(name(lab))['inputs']['parameters'] | dict(lr=.02, epochs=1) and m['experiment'] == exp
    printed = json.dumps([c['outputs'] for c in json.loads((out/f'{exp}.ipynb').read_text())['cells'] if c['cell_type'] == 'code'])
    assert token not in printed and 'me:password' not in printed and '***' in printed
    assert m['git']['remote'] == 'https://***@host.invalid/lab.git?private_token=***' and m['git']['commit'] == git('rev-parse', 'HEAD')
    diff = gzip.decompress((out/'dirty.patch.gz').read_bytes())
    assert m['git']['dirty'] == 'sha256:' + hashlib.sha256(diff).hexdigest() and b'raise ValueError' in diff and token.encode() not in diff
    (lab/'there').mkdir()
    subprocess.run(['git', 'apply', '--check', '--reverse'], cwd=lab, input=diff.replace(b'***@host', b'me:password@host').replace(b'***', token.encode()), check=True)

def test_a_lab_without_git_works_and_says_so(lab): assert 'no commit: the lab is not in a git repository' in (name(lab)/f'{exp}.ipynb').read_text()

# again

def test_a_run_comes_out_the_same_whatever_the_lab_says_now(lab):
    ini, nb = lab/'settings.ini', lab/'experiments'/f'{exp}.ipynb'
    ini.write_text(ini.read_text().replace('seed = 42', 'seed = 43'))
    nb.write_text(nb.read_text().replace('batch_size: int = 64', 'batch_size: int = 32'))
    before = content(name(lab))
    word, cause, what, res = again(lab, ok=0, OMP_NUM_THREADS='2')
    assert (word, cause, res['equal']) == ('IDENTICAL', None, True), res['moved']
    assert content(name(lab)) == before
    new = manifest(lab/'results'/'reproduced'/run)
    assert new['reproduces'] == run and new['reproduction']['verdict'] == 'IDENTICAL' and new['hardware']['threads'] == manifest(name(lab))['hardware']['threads']
    assert list(json.loads(emb('ls', '--json', cwd=lab).stdout)) == [run]

def byte(lab):
    p = lab/'data'/'train.jsonl'
    text = p.read_text()
    p.write_text(text.replace('a', 'b', 1))
    return 'data/train.jsonl has changed'

def line(lab):
    change_code(lab)
    return 'inventory/train.py has changed'

def seed(lab): return 'seed was 42, now 7'

def package(lab):
    (lab.parent/'shadow'/'plotly-0.0.1.dist-info').mkdir(parents=True)
    (lab.parent/'shadow'/'plotly-0.0.1.dist-info'/'METADATA').write_text('Metadata-Version: 2.1\nName: plotly\nVersion: 0.0.1\n')
    return 'plotly was '

@pytest.mark.parametrize('change, cause, args', [(byte, 'data', []), (line, 'code', []), (package, 'environment', []), (seed, 'seed', ['-p', 'seed', 7])])
def test_what_changed_makes_it_different_and_is_named_first(lab, change, cause, args):
    what = change(lab)
    path = os.pathsep.join(filter(None, [str(lab.parent/'shadow'), os.environ.get('PYTHONPATH')]))
    word, why, first, res = again(lab, *args, ok=1, **(dict(PYTHONPATH=path) if change is package else {}))
    assert (word, why) == ('DIFFERENT', cause) and what in first and len(res['changed']) == 1
    assert res['equal'] == (cause == 'environment'), res['moved']

def test_several_causes_stand_in_order(lab):
    for o in (byte, line): o(lab)
    res = emb('reproduce', run, '-p', 'seed', 7, cwd=lab, ok=1).stdout.splitlines()
    assert res[0].startswith('DIFFERENT: data: data/train.jsonl has changed') and res[1].startswith('also code: inventory/train.py') and res[2].startswith('also seed: ')
    assert 'weights differ, nDCG@10 was' in res[3]

def test_other_last_digits_are_judged_by_noise(lab):
    m = manifest(name(lab))
    def pretend(shift, cpu='another'):
        (name(lab)/'run.json').write_text(json.dumps(m | dict(outcome=dict(weights='sha256:0', metrics='sha256:0'), hardware=m['hardware'] | dict(cpu=cpu),
            headline=m['headline'] | dict(tuned=m['headline']['tuned'] | dict(mean=m['headline']['tuned']['mean'] + shift)))))
    pretend(0)
    word, cause, what, res = again(lab, ok=0)
    assert (word, cause) == ('WITHIN NOISE', 'hardware') and 'paired difference over' in res['noise'] and 'fewer than three other seeds' in res['noise']
    for s,shift in ((1, .02), (2, -.02), (3, 0)):
        other = shutil.copytree(name(lab), lab/'results'/f'{exp},seed={s}')
        (other/'run.json').write_text(json.dumps(m | dict(inputs=m['inputs'] | dict(parameters=m['inputs']['parameters'] | dict(seed=s)), headline=dict(tuned=dict(mean=m['headline']['tuned']['mean'] + shift)))))
    pretend(.015)
    word, _, _, res = again(lab, ok=0)
    assert word == 'WITHIN NOISE' and res['noise'] == '3 other seeds of this run spread over 0.0400 nDCG@10'
    pretend(.2)
    assert again(lab, ok=1)[:2] == ('DIFFERENT', 'hardware')

def test_only_a_completed_run_can_be_reproduced(lab):
    assert 'did you mean' in emb('reproduce', run + '0', cwd=lab, ok=2).stderr
    (name(lab)/'run.json').write_text(json.dumps(manifest(name(lab)) | dict(status='failed')))
    assert 'only a completed run' in emb('reproduce', run, cwd=lab, ok=2).stderr

# elsewhere

@pytest.mark.parametrize('packed', [True, False])
def test_an_archive_is_all_that_another_machine_needs(lab, tmp_path, packed):
    emb('reproduce', run, '--archive', tmp_path/'run.tar.gz', *(['--data'] if packed else []), cwd=lab)
    (tmp_path/'there').mkdir()
    sh('tar', 'xf', tmp_path/'run.tar.gz', cwd=tmp_path/'there')
    there = tmp_path/'there'/run
    lab.rename(tmp_path/'gone')
    assert (there/'requirements.txt').read_text().startswith(f'{toolkit_requirement()}\n')
    assert (there/'data').exists() == packed and '\ntorch==' in (there/'requirements.txt').read_text() and 'train.jsonl  600 rows  sha256:' in (there/'README.md').read_text()
    if not packed:
        assert 'data/train.jsonl' in emb('reproduce', run, cwd=there, ok=2).stderr
        shutil.copytree(tmp_path/'gone'/'data', there/'data')
    assert again(there, ok=0)[0] == 'IDENTICAL'

@pytest.mark.parametrize('change', [change_cell, change_code])
def test_other_code_than_ran_is_not_packed(lab, tmp_path, change):
    change(lab)
    assert 'cannot be packed: ' in emb('reproduce', run, '--archive', tmp_path/'run.tar.gz', cwd=lab, ok=2).stderr and not (tmp_path/'run.tar.gz').exists()

# the old run is not what it was

def edited(file): return lambda run: (run/file).write_text((run/file).read_text().replace('0.', '0.9', 1))
def gone(file): return lambda run: shutil.rmtree(run/file) if (run/file).is_dir() else (run/file).unlink()

@pytest.mark.parametrize('harm, said', [(gone('final'), 'final/ is gone'), (edited('eval/per_query.jsonl'), 'eval/per_query.jsonl has changed'), (gone('eval/slices.json'), 'eval/slices.json is gone'),
    (gone(f'{exp}.ipynb'), f'{exp}.ipynb is gone'), (edited('history.jsonl'), 'history.jsonl has changed'), (lambda run: None, '')])
def test_what_is_left_of_the_old_run_is_said_by_both(lab, monkeypatch, harm, said):
    from embed_lab.evaluation import reproduce as r
    from embed_lab.evaluation.archive import pack_run
    from embed_lab.lab import read_lab
    def repeat(plan, anew, show, old): # quickly, with other last digits
        shutil.copytree(whole_copy, plan.path)
        new = manifest(plan.path)
        new['outcome']['metrics'], new['headline']['tuned']['mean'] = 'sha256:1', new['headline']['tuned']['mean'] + 1e-9
        (plan.path/'run.json').write_text(json.dumps(new))
        return new
    whole_copy = shutil.copytree(name(lab), lab/'copy')
    monkeypatch.setattr(r, 'execute', repeat)
    harm(name(lab))
    res, line = r.reproduce(read_lab(lab), run), f'{run}: {said} since it completed; the verdict goes by what run.json says of it'
    assert (res.since, res.to_dict()['since']) == (said, said or None) and (line in res.lines()) == bool(said)
    assert ('because the scores of its queries are not as they were' in res.measured) == said.startswith('eval/')
    assert (f'{run}: {said} since it completed' in pack_run(read_lab(lab), run).notes) == bool(said)
