"How long `emb --help` takes, beside an empty Typer app with as many commands and beside `papermill --help`"
import statistics, subprocess, sys, tempfile, time
from pathlib import Path

bin = Path(sys.executable).parent

def empty(n:int, options:str='')->str: # Source of an app with n commands that do nothing
    "A Typer app that has nothing to load"
    return f'import typer\napp = typer.Typer({options})\n' + ''.join(f'@app.command()\ndef command{i}(): "A command."\n' for i in range(n)) + 'app()\n'

def seconds(cmd:list)->float:
    t = time.perf_counter()
    subprocess.run(cmd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - t

def main(rounds:int=21):
    from embed_lab.cli.commands import app
    home, n = Path(tempfile.mkdtemp()), len(app.registered_commands)
    (home/'peer.py').write_text(empty(n))
    (home/'plain.py').write_text(empty(n, 'rich_markup_mode=None'))
    cmds = {'emb --help': [bin/'emb', '--help'], f'empty Typer app, {n} commands': [sys.executable, home/'peer.py', '--help'],
        'the same with plain help, as emb has it': [sys.executable, home/'plain.py', '--help'], 'papermill --help': [bin/'papermill', '--help']}
    for o in cmds.values(): seconds(o)
    took = {k: [] for k in cmds}
    for _ in range(rounds):
        for k,o in cmds.items(): took[k].append(seconds(o))
    ours, *peers = took
    print(f'medians of {rounds} rounds, in turn')
    for k,v in took.items(): print(f'{statistics.median(v)*1000:6.0f} ms  {k}')
    for k in peers: print(f'{statistics.median(a/b for a,b in zip(took[ours], took[k])):6.2f}     {ours} over {k}, median of paired ratios')

main()
