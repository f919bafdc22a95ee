"Files are written with the permissions of any new file, what a killed writer left is cleared, and no id of another's processes is believed"
import os, signal, stat, subprocess, sys, threading, time
from pathlib import Path
import pytest
from embed_lab.data.files import WorkFolder, clear_leftovers, find_data_file, write_atomic, write_json
from embed_lab.lab import LabError, shortage
from embed_lab.runs.results import is_alive, lock_run, process_facts, read_run, timestamp

def test_the_umask_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'umask', lambda *_: pytest.fail('the umask was set'))
    write_atomic(tmp_path/'a', b'1')
    monkeypatch.undo()
    was = os.umask(0o027)
    try: write_atomic(tmp_path/'b', b'2')
    finally: os.umask(was)
    assert stat.S_IMODE((tmp_path/'a').stat().st_mode) == 0o666 & ~was and stat.S_IMODE((tmp_path/'b').stat().st_mode) == 0o640

def test_what_a_killed_writer_left_is_cleared_and_a_living_ones_is_not(tmp_path):
    code = '''import os, sys, time
from embed_lab.data import files
os.replace = lambda *_: (print('there', flush=True), time.sleep(60))
with files.WorkFolder('.import', sys.argv[1]) as made:
    files.write_atomic(made + '/x', b'')'''
    alone = code.replace("with files.WorkFolder('.import', sys.argv[1]) as made:\n    files.write_atomic(made + '/x', b'')", "files.write_atomic(sys.argv[1] + '/run.json', b'')")
    ps = [subprocess.Popen([sys.executable, '-c', o, tmp_path], stdout=subprocess.PIPE) for o in (code, alone)]
    try:
        for p in ps: assert p.stdout.readline() == b'there\n'
        clear_leftovers(tmp_path, deep=True)
        assert len([*tmp_path.iterdir()]) == 2
    finally:
        for p in ps: p.kill(); p.wait()
    lock_run(tmp_path/'results'/'run').close() # is not beside them
    assert len([*tmp_path.glob('.*.part')]) == 2
    with WorkFolder('.import', tmp_path): assert len([*tmp_path.glob('.import.*')]) == 1
    lock_run(tmp_path/'run').close()
    assert not [*tmp_path.glob('.*.part')]

def test_two_threads_that_clear_and_write_lose_nothing(tmp_path):
    stop = threading.Event()
    def clear():
        while not stop.is_set(): clear_leftovers(tmp_path)
    t = threading.Thread(target=clear)
    t.start()
    try:
        for i in range(200): write_atomic(tmp_path/'a', str(i).encode())
    finally: stop.set(); t.join()
    assert (tmp_path/'a').read_bytes() == b'199' and len([*tmp_path.iterdir()]) == 1

def test_a_process_of_another_namespace_is_asked_by_its_lock(tmp_path):
    from embed_lab.evaluation.comparable import mock_run
    from embed_lab.lab import read_lab
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    run, me = mock_run(read_lab(tmp_path), 'exp', dict(tuned=[.5, .6])), process_facts()
    whole = read_run(run) | dict(status='running')
    if not me['space']: pytest.skip('no PID namespaces here')
    there = me | dict(pid=1, born=1., space='pid:[1]')
    write_json(run/'run.json', whole | dict(process=there, heartbeat='2020-01-01T00:00:00+00:00'))
    with lock_run(run): assert read_run(run)['status'] == 'running' # however long it has been silent
    assert read_run(run)['status'] == 'killed' # though it spoke a moment ago, or would have
    write_json(run/'run.json', whole | dict(process=there | dict(boot='another'), heartbeat=timestamp()))
    assert read_run(run)['status'] == 'running' # no lock is seen from another machine
    assert is_alive({k: me[k] for k in ('pid', 'born', 'host')}) # as older versions wrote it

@pytest.mark.parametrize('make, kind', [(lambda p: p.symlink_to(p), 'a link that leads back to itself'), (lambda p: p.symlink_to('nowhere'), 'a link to nothing'), (os.mkfifo, 'a pipe'), (Path.mkdir, 'a folder'), (lambda p: p.symlink_to('/dev/zero'), 'a device')])
@pytest.mark.parametrize('name', ['train.jsonl', 'corpus.jsonl', 'gold.jsonl.gz'])
def test_what_is_not_a_file_is_not_taken_for_nothing(tmp_path, make, kind, name, monkeypatch):
    from typer.testing import CliRunner
    from embed_lab.cli.commands import app
    make(tmp_path/name)
    for o in ('train', 'dev', 'gold'):
        if not os.path.lexists(tmp_path/f'{o}.jsonl'): (tmp_path/f'{o}.jsonl').write_text('{"query": "a b", "passage": "c d", "label": 1}\n')
    with pytest.raises(LabError, match=f'{name} is {kind}, not a file'): find_data_file(tmp_path/name.removesuffix('.gz'))
    for path in (tmp_path, tmp_path/name):
        res = CliRunner().invoke(app, ['check', str(path)])
        assert res.exit_code in (1, 2) and isinstance(res.exception, SystemExit), (res.exception, res.stderr)

@pytest.mark.parametrize('error, said', [(OSError(24, 'Too many open files', 'x'), 'ulimit -n'), (OSError(23, 'Too many open files in system'), 'this machine'), (OSError(12, 'Cannot allocate memory'), 'not enough memory'),
    (MemoryError(), 'not enough memory'), (RuntimeError("can't start new thread"), '--jobs'), (TimeoutError('no answer after 4 seconds'), 'try it again'), (OSError(28, 'No space left on device', 'x'), 'no space left')])
def test_what_the_machine_lacks_is_named_in_one_line(error, said):
    from typer.testing import CliRunner
    import typer
    from embed_lab.cli.terminal import CommandGroup
    app = typer.Typer(cls=CommandGroup)
    @app.command()
    def fails(): raise error
    @app.command()
    def other(): pass
    res = CliRunner().invoke(app, ['fails'])
    assert res.exit_code == 2 and isinstance(res.exception, SystemExit) and said in res.stderr and res.stderr.count('\n') == 1, res
    assert 'has room' not in res.stderr

def test_a_report_of_many_queries_is_small_and_loses_none():
    import json, re, zlib
    from base64 import b64decode
    from embed_lab.evaluation.browse import Move, browser_rows, packed_rows
    from embed_lab.evaluation.figures import query_browser
    def hits(i): return [dict(id=f'd{(i*7 + j) % 500}', grade=int(j == 3) or None, text=f'<b>{(i*7 + j) % 500} ' + 'words of a passage ' * 9) for j in range(10)]
    moved = [Move(f'query {i}', [], 0., i/3000, (4, 4), (hits(i), hits(i + 1)), {f'd{i*7 % 500}'}, set()) for i in range(3000)]
    page = query_browser(moved).data
    assert len(page) < 1_000_000
    packed = json.loads(zlib.decompress(b64decode(re.search(r"atob\('([^']+)'\)", page)[1])))
    assert len(packed['rows']) == 3000 and '<b>9' not in ''.join(packed['parts'])
    last = packed['rows'][-1]
    assert last[0] == 'query 2999' and ''.join(packed['parts'][i] for i in last[9]) == ''.join(browser_rows(moved[-1:])[0][9])
