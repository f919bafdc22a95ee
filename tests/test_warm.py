"Forked kernels: nothing passes from one run to the next, and nothing outlives who asked for it"
import json, os, signal, subprocess, sys, textwrap
from pathlib import Path
import papermill as pm
import pytest
from support import bin, manifest, started_emb, wait_for
from embed_lab.runs.engine import SocketManager
from embed_lab.runs.warm import Server
from fastcore.nbio import mk_cell, new_nb, read_nb, write_nb

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='processes are forked on Linux alone')
exp = 'exp_02_in_batch'

def notebook(path, *cells, language='python', kernel='python3'):
    nb = new_nb([mk_cell(o) for o in cells])
    nb['metadata']['kernelspec'] = dict(name=kernel, display_name=kernel, language=language)
    write_nb(nb, path)
    return str(path)

def executed(tmp_path, *cells, **kw):
    "What the last cell of a notebook printed, run by the engine"
    out = pm.execute_notebook(notebook(tmp_path/'in.ipynb', *cells), str(tmp_path/'out.ipynb'), **dict(engine_name='warm') | kw, progress_bar=False, cwd=str(tmp_path), extra_arguments=['--IPKernelApp.log_level=50'])
    return ''.join(''.join(o['text']) for o in out['cells'][-1]['outputs'] if o['output_type'] == 'stream')

look = '''
import gc, json, os, random, signal, sys, threading, warnings
forked = 'torch' in sys.modules and 'papermill' in sys.modules
import numpy as np, torch
print(json.dumps(dict(forked=forked, marks=[k for k in ('builtins_mark', 'torch_mark') if hasattr(torch, k) or k in dir(__builtins__)], env=os.environ.get('LEFT_BEHIND'), cwd=os.getcwd(), path='/left/behind' in sys.path,
    random=[random.random(), float(np.random.rand())], main=sorted(k for k in globals() if k.startswith('mine')), grad=torch.is_grad_enabled(), dtype=str(torch.get_default_dtype()), threads=torch.get_num_threads(),
    cuda=torch.cuda.is_initialized(), bad_fork=torch.cuda._is_in_bad_fork(), kernel=os.environ['EMB_KERNEL'], parent=os.getppid(), usr1=signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL, files=sorted(os.listdir('/proc/self/fd')))))'''
leave = '''
import builtins, os, random, signal, sys, numpy as np, torch
mine_a, builtins.builtins_mark, torch.torch_mark = 1, 1, 1
os.environ['LEFT_BEHIND'] = 'yes'
os.chdir('/')
sys.path.append('/left/behind')
random.seed(1), np.random.seed(1), torch.manual_seed(1)
torch.set_grad_enabled(False), torch.set_default_dtype(torch.float64), torch.set_num_threads(1)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
torch.ones(600, 600) @ torch.ones(600, 600)'''

def test_no_state_passes_from_one_run_to_the_next(tmp_path):
    first = json.loads(executed(tmp_path, look))
    executed(tmp_path, leave)
    second = json.loads(executed(tmp_path, look))
    assert first['forked'] and first['kernel'] == 'forked' and first['parent'] == second['parent']  # one server
    assert first.pop('random') != second.pop('random')
    assert first == second and not first['marks'] and not first['main'] and first['env'] is None and first['cwd'] == str(tmp_path)

def test_no_device_is_touched_before_the_fork(tmp_path):
    said = json.loads(executed(tmp_path, look))
    assert not said['cuda'] and not said['bad_fork']

def test_what_an_import_prints_keeps_no_server_from_forking(tmp_path):
    "transformers does with WANDB_MODE=offline"
    (tmp_path/'speaks.py').write_text("print('[INFO] here')")
    server = Server(os.environ | dict(PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"), ['speaks'])
    try: assert server.ready() == server.path
    finally: server.close()

reached = """
from ipykernel.connect import get_connection_info
import json, os
from pathlib import Path
o = get_connection_info(unpack=True)
print(json.dumps(dict(transport=o['transport'], ip=o['ip'], mode=Path(o['ip']).parent.stat().st_mode & 0o777 if o['transport'] == 'ipc' else None, kernel=os.environ.get('EMB_KERNEL'))))"""

@pytest.mark.parametrize('how', [dict(engine_name='warm'), dict(engine_name=None, kernel_manager_class=SocketManager)])
def test_a_kernel_is_reached_where_no_other_can_be(tmp_path, how):
    said = json.loads(executed(tmp_path, reached, **how))
    assert said['transport'] == 'ipc' and said['mode'] == 0o700 and not Path(said['ip']).parent.exists()
    assert (said['kernel'] == 'forked') == (how['engine_name'] == 'warm')

def test_a_folder_too_deep_for_sockets(tmp_path):
    deep = tmp_path/('deep'*20)
    deep.mkdir()
    path, out = notebook(tmp_path/'in.ipynb', reached), tmp_path/'out.ipynb'
    res = subprocess.run([bin/'papermill', '--engine', 'warm', '--no-progress-bar', path, out], env=os.environ | dict(TMPDIR=str(deep)), cwd=tmp_path, capture_output=True, text=True, timeout=120)
    said = json.loads(''.join(json.loads(out.read_text())['cells'][-1]['outputs'][0]['text']))
    assert not res.returncode and said['transport'] == 'tcp' and said['kernel'] != 'forked' and 'emb: kernels cannot be forked' in res.stderr, (said, res.stderr)

def test_matrix_products_after_the_fork(tmp_path):
    "Native threads do not survive a fork; whoever forks must not have started any"
    assert executed(tmp_path, "import torch\nx = torch.randn(700, 700)\nfor _ in range(3): y = x @ x\nprint(torch.isfinite(y).all().item(), len(torch.nn.Linear(9, 9)(torch.ones(4, 9)).sum(1).tolist()))").split() == ['True', '4']

def test_a_forked_run_gives_what_a_started_one_does(lab):
    nb = read_nb(lab/'experiments'/f'{exp}.ipynb')
    nb.cells.append(mk_cell(reached))
    write_nb(nb, lab/'experiments'/f'{exp}.ipynb')
    for o in ('a', 'b'): (lab/'experiments'/f'exp_9{o}.ipynb').write_bytes((lab/'experiments'/f'{exp}.ipynb').read_bytes())
    given = '-p', 'epochs', 2, '-p', 'seed', 1
    assert 'forked' not in started_emb('run', exp, *given, cwd=lab).stderr
    assert 'kernels are forked' in started_emb('run', 'exp_9a', 'exp_9b', *given, cwd=lab).stderr
    cold, *warm = (manifest(lab/'results'/f'{o},epochs=2,seed=1') for o in (exp, 'exp_9a', 'exp_9b'))
    for o in (exp, 'exp_9a', 'exp_9b'): assert '"transport": "ipc"' in str(read_nb(lab/'results'/f'{o},epochs=2,seed=1'/f'{o}.ipynb').cells[-1].outputs)
    assert cold['kernel'] == 'started' and [o['kernel'] for o in warm] == ['forked']*2
    assert [o['outcome'] for o in warm] == [cold['outcome']]*2

def test_where_forking_fails_it_is_said_and_the_kernel_is_started(tmp_path, monkeypatch, capfd):
    from embed_lab.runs import engine
    from embed_lab.lab import LabError
    def no(*_): raise LabError('kernels cannot be forked: there is no room')
    monkeypatch.setattr(engine, 'forked_process', no)
    assert executed(tmp_path, "import os\nprint(os.environ.get('EMB_KERNEL'))").strip() == 'None'
    assert 'emb: kernels cannot be forked: there is no room; starting one' in capfd.readouterr().err

def test_a_server_that_cannot_import_says_so(tmp_path):
    from embed_lab.lab import LabError
    from embed_lab.runs.warm import Server
    (tmp_path/'papermill.py').write_text("raise ImportError('papermill is broken')")
    with pytest.raises(LabError, match='kernels cannot be forked: ImportError: papermill is broken'): Server(dict(os.environ, PYTHONPATH=str(tmp_path))).ready()

asking = textwrap.dedent('''
    import os, sys, time
    from embed_lab.runs.warm import forked_process, servers
    said = open(sys.argv[1], 'w')
    nothing = open(os.devnull)
    p = forked_process('kernel', ['-f', sys.argv[1] + '.json', '--IPKernelApp.log_level=50'], dict(os.environ), os.getcwd(), [nothing.fileno(), 1, 2])
    said.write(f'{p.pid} {next(iter(servers.started.values())).process.pid}'), said.close()
    time.sleep(600)''')

def alive(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError: return False

@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_who_asked(tmp_path, how):
    p = subprocess.Popen([sys.executable, '-c', asking, tmp_path/'said'], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), stderr=subprocess.DEVNULL)
    kernel, server = map(int, wait_for(lambda: (o := tmp_path/'said').exists() and o.read_text()).split())
    assert alive(kernel) and alive(server)
    p.send_signal(how)
    p.wait(60)
    wait_for(lambda: not alive(kernel) and not alive(server), 30)

def test_a_killed_server_takes_its_kernels_along_and_the_run_fails_in_words(tmp_path):
    cells = 'import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)'
    with pytest.raises(Exception, match='[Kk]ernel.* died|DeadKernel'): executed(tmp_path, cells)
    assert json.loads(executed(tmp_path, look))['kernel'] == 'forked'  # by another
