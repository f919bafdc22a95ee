"How long `emb --help` takes, beside an empty Typer app with as many commands and beside `papermill --help`"
import statistics, subprocess, sys, tempfile, time
from pathlib import Path

bin = Path(sys.executable).parent

def empty(n:int)->str: # Source of an app with n commands that do nothing
    "A Typer app that has nothing to load"
    return 'import typer\napp = typer.Typer()\n' + ''.join(f'@app.command()\ndef command{i}(): "A command."\n' for i in range(n)) + 'app()\n'

def seconds(cmd:list)->float:
    t = time.perf_counter()
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - t

def main(rounds:int=21):
    from embed_lab.cli import app
    peer = Path(tempfile.mkdtemp())/'peer.py'
    peer.write_text(empty(len(app.registered_commands)))
    cmds = {'emb --help': [bin/'emb', '--help'], f'empty Typer app, {len(app.registered_commands)} commands': [sys.executable, peer, '--help'],
        'papermill --help': [bin/'papermill', '--help']}
    for o in cmds.values(): seconds(o)
    took = {k: [] for k in cmds}
    for _ in range(rounds):
        for k,o in cmds.items(): took[k].append(seconds(o))
    ours, *peers = took
    print(f'medians of {rounds} rounds, in turn')
    for k,v in took.items(): print(f'{statistics.median(v)*1000:6.0f} ms  {k}')
    for k in peers: print(f'{statistics.median(a/b for a,b in zip(took[ours], took[k])):6.2f}     {ours} over {k}, median of paired ratios')

main()
