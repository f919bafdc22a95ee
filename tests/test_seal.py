"Gold that is put away: nothing is lost at any moment, runs are judged by dev and say so, and by gold later without training"
import json, os, shutil
import msgspec, pytest
from typer.testing import CliRunner
from support import checkpoints, content, emb, exp, manifest
from embed_lab.cli.commands import app
from embed_lab.data.check import check_folder, refuse_leaks
from embed_lab.data.files import write_rows
from embed_lab.data.folder import read_folder
from embed_lab.data.reading import read_rows
from embed_lab.data.removals import leaking_rows
from embed_lab.data.task import gold_is_sealed
from embed_lab.lab import LabError, read_lab
from embed_lab.runs import seal as sealing
from embed_lab.runs.seal import seal_gold, unseal_gold

words = "four words of one's own"
gold_names = 'gold.jsonl', 'qrels.tsv'

@pytest.fixture
def key(tmp_path):
    (tmp_path/'key').write_text(f'{words}\n')
    return tmp_path/'key'

@pytest.fixture
def data_lab(tmp_path):
    "A lab of data alone, with judgements"
    home = (tmp_path/'my lab')
    home.mkdir()
    (home/'settings.ini').write_text('[DEFAULT]\n')
    lab = read_lab(home)
    def row(i): return dict(query=f'how do people reset a device of model {i} at home', passage=f'Hold button {i} of it for ten seconds.', label=1, query_id=f'q{i}', passage_id=f'd{i}')
    for k,some in dict(train=range(30), dev=range(30, 40), gold=range(40, 60)).items(): write_rows(lab.data/f'{k}.jsonl', map(row, some))
    write_rows(lab.data/'corpus.jsonl', [dict(_id=f'd{i}', text=row(i)['passage']) for i in range(60)])
    (lab.data/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\n' + ''.join(f'q{i}\td{i}\t1\n' for i in range(40, 60)))
    return lab

def in_lab(lab, *args, ok=0):
    res = CliRunner().invoke(app, [str(o) for o in args])
    assert res.exit_code == ok, res.output
    return res.output

class Killed(BaseException): pass

def dying(monkeypatch, n):
    "Have the process die before the n-th change of the disk from now on; returns a list that is empty where it came to its end before"
    left = []
    def counted(f):
        def act(*args, **kw):
            if len(left) == n: raise Killed
            left.append(f)
            return f(*args, **kw)
        return act
    for k in ('write_atomic', 'write_json'): monkeypatch.setattr(sealing, k, counted(getattr(sealing, k)))
    monkeypatch.setattr(sealing.Path, 'unlink', counted(sealing.Path.unlink))

@pytest.mark.parametrize('share', [None, .4])
@pytest.mark.parametrize('moved', [False, True])
def test_a_kill_at_any_moment_loses_nothing_and_the_same_command_finishes(data_lab, tmp_path, monkeypatch, share, moved):
    before, to = content(data_lab.data), tmp_path/'away' if moved else None
    monkeypatch.setattr(sealing, '_key', lambda passphrase, salt: salt*2) # the real one is slow on purpose
    def seal(): return seal_gold(data_lab, None if moved else words, to, share, 3)
    def unseal(): return unseal_gold(data_lab, None if moved else words)
    for act in (seal, unseal):
        for n in range(20):
            with monkeypatch.context() as m:
                dying(m, n)
                try: act()
                except Killed: pass
                else: break
            if act is seal and (data_lab.data/'gold.seal').exists() and share is None and n % 2: unseal() # the other way out of a half-done state
        else: raise AssertionError('never came to its end')
        if act is seal:
            assert n > 2 and gold_is_sealed(data_lab.data) == (share is None)
            left = {} if share is None else content(data_lab.data)
    after = content(data_lab.data)
    assert 'gold.seal' not in after and 'gold.vault' not in after
    if share is None: assert all(after[k] == before[k] for k in before)
    else:
        assert sorted((after['gold.jsonl'] + after['gold.seen.jsonl']).splitlines()) == sorted(before['gold.jsonl'].splitlines())
        assert after['gold.seen.jsonl'] == left['gold.jsonl']
        judged = after['qrels.tsv'].splitlines()[1:] + after['qrels.seen.tsv'].splitlines()[1:]
        assert sorted(judged) == sorted(before['qrels.tsv'].splitlines()[1:])

def test_what_stays_in_the_lab_has_no_word_of_gold(data_lab):
    seal_gold(data_lab, words)
    left = b''.join(v for k,v in content(data_lab.path).items() if not k.endswith(('corpus.jsonl', 'train.jsonl', 'dev.jsonl')))
    assert not any(o in left for o in (b'model 45', b'reset', b'q45', b'button'))

def test_mistakes_get_one_line_and_change_nothing(data_lab, key, monkeypatch, tmp_path):
    monkeypatch.chdir(data_lab.path)
    before = content(data_lab.data)
    for args,says in {('seal', '--to', 'data/away'): 'is inside the lab', ('seal', '--to', tmp_path/'x', '--key', key): 'give only one of --to and --key',
        ('seal', '--key', key, '--share', 2): '--share is 2', ('seal', '--key', tmp_path/'none'): 'no such file; --key names one', ('unseal', '--key', key): 'gold is not sealed',
        ('seal', '--key', key, '--share', .99): 'would leave'}.items():
        assert says in in_lab(data_lab, *args, ok=2).replace('\n', ' '), args
        assert content(data_lab.data) == before
    (tmp_path/'short').write_text('abc\n')
    assert 'soon guessed' in in_lab(data_lab, 'seal', '--key', tmp_path/'short', ok=2)
    assert content(data_lab.data) == before
    in_lab(data_lab, 'seal', '--key', key)
    sealed = content(data_lab.data)
    (tmp_path/'other').write_text('some other words\n')
    assert 'the passphrase does not open it' in in_lab(data_lab, 'unseal', '--key', tmp_path/'other', ok=2)
    assert 'has been sealed since' in in_lab(data_lab, 'seal', '--key', key, ok=2)
    for k,torn in {'gold.seal': b'{', 'gold.vault': sealed['gold.vault'][:-9]}.items():
        (data_lab.data/k).write_bytes(torn)
        assert len(in_lab(data_lab, 'unseal', '--key', key, ok=2).splitlines()) == 1
        (data_lab.data/k).write_bytes(sealed[k])
    write_rows(data_lab.data/'gold.jsonl', [dict(query='new', passage='other', label=1)])
    assert 'another file than was sealed' in in_lab(data_lab, 'unseal', '--key', key, ok=2)
    assert 'another file than was sealed' in in_lab(data_lab, 'seal', ok=2)
    (data_lab.data/'gold.jsonl').unlink()
    assert content(data_lab.data) == sealed
    in_lab(data_lab, 'unseal', '--key', key)
    assert {k: v for k,v in content(data_lab.data).items() if k != 'gold.unsealed'} == before

def test_leaks_are_found_though_gold_cannot_be_read(data_lab, monkeypatch):
    rows = read_rows(data_lab.data/'gold.jsonl')
    assert check_folder(data_lab.path).clean
    seal_gold(data_lab, words)
    monkeypatch.chdir(data_lab.path)
    assert check_folder(data_lab.path).clean and 'gold is sealed' in in_lab(data_lab, 'check').replace('\n', ' ')
    found = read_folder(data_lab.data)
    assert refuse_leaks({k: found[k] for k in ("train", "dev", "gold")}) == [] # dev does not leak into itself
    assert not any(o.any() for o in leaking_rows(dict(dev=found['dev'], gold=found['gold']), 'dev', 'open').values())
    more = found['train'] + [rows[0] | dict(query=rows[0]['query'].upper(), passage='Unplug it.', passage_id='d1')]
    write_rows(data_lab.data/'train.jsonl', [{k: v for k,v in o.items() if k != 'passage_id'} for o in more])
    said = {o.rule: o for o in check_folder(data_lab.path).findings}
    assert said['leak: query'].level == 'fail' and '1 of 20 items of sealed gold repeats a question of train' in said['leak: query'].says
    with pytest.raises(LabError, match='^leak: 1 of 20 items of sealed gold'): refuse_leaks(dict(train=more, dev=found['dev'], gold=found['dev']))
    assert leaking_rows(dict(train=more, dev=found['dev'], gold=found['dev']), 'train', 'open')['query'].tolist() == [False]*30 + [True]

def test_a_sealed_lab_is_judged_by_dev_and_by_gold_later_without_training(lab, key):
    emb('run', exp, cwd=lab)
    emb('seal', '--key', key, cwd=lab)
    res = emb('run', exp, '-p', 'seed', 2, cwd=lab)
    run = lab/'results'/f'{exp},seed=2'
    m = manifest(run)
    assert 'gold is sealed: these are scores on dev' in res.stderr and 'dev was searched among' in res.stdout
    assert m['status'] == 'completed' and 'gold.jsonl' not in m['inputs']['data'] and m['inputs']['data']['gold.seal']['lines'] == 120 and not m.get('looks')
    assert json.loads((run/'eval'/'gold_metrics.json').read_text())['judged'] == 'dev' and checkpoints(run)
    assert 'Gold is sealed: these are scores on dev' in (run/'final'/'README.md').read_text()
    listed = emb('ls', cwd=lab).stdout
    assert 'judged by' in listed and 'judged by dev while gold was sealed' in listed
    assert 'gold is sealed' in emb('compare', run.name, cwd=lab).stdout
    assert 'was judged by dev while gold was sealed' in emb('compare', run.name, exp, cwd=lab, ok=2).stderr
    emb('board', cwd=lab)
    assert 'gold is sealed' in (lab/'results'/'board.html').read_text()
    assert 'is up to date' in emb('run', exp, '-p', 'seed', 2, cwd=lab).stdout
    assert 'gold is sealed, and what leaves the lab is judged by gold' in emb('export', run.name, '--dims', 8, cwd=lab, ok=2).stderr
    weights, dev = m['outcome']['weights'], (run/'eval'/'gold_metrics.json').read_bytes()
    opened = emb('unseal', '--key', key, cwd=lab).stdout
    assert f'`emb run {exp} -p seed 2`' in opened
    res = emb('run', exp, '-p', 'seed', 2, cwd=lab)
    m = manifest(run)
    assert 'without another training' in res.stderr and m['resumed'] and m['attempts'][0]['status'] == 'completed'
    assert m['outcome']['weights'] == weights and m['status'] == 'completed' and len(m['looks']) == 1
    assert 'judged' not in json.loads((run/'eval'/'gold_metrics.json').read_text()) and not (run/'checkpoints').exists()
    kept = [o for o in (lab/'results'/'aside').iterdir() if 'before unsealing' in o.name]
    assert (kept[0]/'eval'/'gold_metrics.json').read_bytes() == dev
    emb('compare', run.name, exp, cwd=lab)
    assert 'is up to date' in emb('run', exp, '-p', 'seed', 2, cwd=lab).stdout
    assert exp in emb('ls', '--verify', cwd=lab).stdout

def test_what_trains_nothing_is_judged_by_dev_too(lab, key):
    emb('new', 'exp_09', '--recipe', 'untuned', cwd=lab)
    emb('seal', '--key', key, cwd=lab)
    emb('run', 'exp_09', cwd=lab)
    m = manifest(lab/'results'/'exp_09')
    assert m['status'] == 'completed' and 'dev.jsonl' in m['inputs']['data']
    emb('unseal', '--key', key, cwd=lab)
    emb('run', 'exp_09', cwd=lab)
    assert 'gold.jsonl' in manifest(lab/'results'/'exp_09')['inputs']['data']

def test_git_history_that_holds_gold_is_named(data_lab, monkeypatch):
    monkeypatch.chdir(data_lab.path)
    for k,v in dict(GIT_AUTHOR_NAME='a', GIT_AUTHOR_EMAIL='a@b', GIT_COMMITTER_NAME='a', GIT_COMMITTER_EMAIL='a@b').items(): monkeypatch.setenv(k, v)
    os.system('git init -q . && git add -A && git commit -qm data')
    said = '\n'.join(seal_gold(data_lab, words).said)
    assert 'git history still holds' in said and 'gold.jsonl (' in said

def test_no_second_gold_is_made_and_nothing_is_judged_under_a_seal(data_lab, tmp_path):
    from embed_lab.evaluation.pool import current_gold
    from embed_lab.labs.generate import refuse_written
    seal_gold(data_lab, to=tmp_path/'away')
    (data_lab.data/'train.jsonl').unlink()
    with pytest.raises(LabError, match='gold is sealed, and this would cut another one; open it first with `emb unseal`'): refuse_written(data_lab.data, True, False)
    refuse_written(data_lab.data, False, False)
    with pytest.raises(LabError, match='gold is sealed, and judging adds to it'): current_gold(data_lab)
