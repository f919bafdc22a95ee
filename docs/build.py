"""Make the site: python docs/build.py [FOLDER]

Pages under docs/ are written by hand, the reference is read from the code, and the rooms of the toolkit are its lessons as they
stand in nbs/. What Sphinx reads is put together in FOLDER/source, the site in FOLDER/html. A broken link fails."""
import argparse, inspect, json, re, shutil, sys
from importlib import import_module
from pathlib import Path
from pprint import pformat
import typer
from fastcore.docments import docments

root = Path(__file__).resolve().parent.parent
rooms = dict(data='What is in these files, and is it sound?', models='Weights, conventions, vectors, and searching them', runs='Start, record, resume, repeat',
    training='Losses, batches, negatives, and the trainer', evaluation='How good, for whom, better than what', delivery='What leaves the lab',
    labs='Making labs, experiments and recipes', cli='The command line', inventory="What is copied into a lab", experiments='The recipes', reports='Notebooks over results')

def cell(text)->str: # Of a Markdown table
    return ' '.join(str(text).split()).replace('|', '\\|').replace('<', '&lt;')

def code(text)->str: # In a cell
    return '`' + ' '.join(text.split()).replace('|', '\\|') + '`'

def table(head:tuple, rows:list)->str:
    "A Markdown table"
    lines = [head, ['---']*len(head), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, o)) + ' |' for o in lines)

# the reference

def commands()->str:
    "Each command with its help, its example and its options, as the command itself knows them"
    from embed_lab.cli.commands import app
    group, res = typer.main.get_command(app), ['# Commands\n\nExit codes: 0, done; 1, the answer is no (a run that failed, data that leaks); 2, no answer was possible '
        '(a typo, a missing file), with the reason on one line of stderr. `emb --install-completion` teaches a shell the names of experiments, runs and recipes.']
    for name in sorted(group.commands):
        o = group.commands[name]
        if o.hidden: continue
        ctx = o.make_context(f'emb {name}', [], resilient_parsing=True)
        example = (o.epilog or '').removeprefix('Example: ')
        rows = []
        for p in o.params:
            if said := p.get_help_record(ctx): rows.append((code(said[0]), cell(said[1])))
        res.append(f"## `emb {name}`\n\n{cell(o.help or '')}\n\n```sh\n{example}\n```\n\n" + (table(('', ''), rows) if rows else ''))
    return '\n\n'.join(res)

def names()->str:
    "The promised names, with their parameters"
    from embed_lab.door import promised
    res = ["# Names\n\nWhat a lab's own notebooks may import. Each name stays under its path, and takes what it takes today, as long as labs that import it are served; "
        'whatever is not here can change with the next release.']
    for module,found in promised.items():
        for name in found:
            o = getattr(import_module(f'embed_lab.{module}'), name)
            res.append(f"## `{name}`\n\n`from embed_lab.{module} import {name}`")
            if not (inspect.isfunction(o) or inspect.isclass(o)):
                res.append(f'```python\n{pformat(o, width=100)}\n```')
                continue
            res.append(cell(inspect.getdoc(o) or ''))
            if rows := [_parameter(k, v) for k,v in docments(o, full=True).items() if v.docment]: res.append(table(('', 'type', 'default', ''), rows))
    return '\n\n'.join(res)

def _parameter(name, o):
    none, back = inspect.Parameter.empty, name == 'return'
    kind = '' if o.anno in (none, None) else o.anno.__name__ if isinstance(o.anno, type) else str(o.anno).replace('typing.', '')
    return '*returns*' if back else f'`{name}`', code(kind) if kind else '', '' if back or o.default is none else code(repr(o.default)), cell(o.docment)

def manifest()->str:
    "The schema of a run's manifest"
    from embed_lab.runs.manifest import manifest_schema
    schema = manifest_schema()
    return ("# The manifest\n\nEach run has a `run.json`: what it was made of, what became of it. `emb ls --schema` prints this schema.\n\n```json\n"
        + json.dumps(schema, indent=1, ensure_ascii=False) + '\n```')

def recipe_pages()->str:
    "Every shipped recipe"
    from embed_lab.labs.recipes import recipes
    rows = [(f'`{k}`', cell(', '.join(o.needs) or ('dev' if o.trains else 'gold alone')), cell(o.when) or '', ', '.join(f'`{v}`' for v in o.losses)) for k,o in recipes().items()]
    return '# Recipes\n\n`emb recipes --for data` ranks them for your data, with reasons. Each is a notebook to read, copy and change.\n\n' + table(('recipe', 'learns from', 'chosen for', 'losses'), rows)

def settings_page()->str:
    "What a fresh lab's settings say"
    from embed_lab.labs.scaffold import _settings_text
    return "# Settings\n\n`settings.ini` of a fresh lab: what can be set, and what it means.\n\n```ini\n" + _settings_text().strip() + '\n```'

reference = dict(commands=commands, names=names, manifest=manifest, recipes=recipe_pages, settings=settings_page)

# the lessons

def lesson(source:Path, to:Path):
    "A notebook without what is there for nbdev alone"
    nb = json.loads(source.read_text())
    kept = []
    for c in nb['cells']:
        text = ''.join(c['source'])
        if re.match(r'#\| *(hide|default_exp)', text): continue
        c['source'] = re.sub(r'\A(#\|.*\n?)+\n*', '', text)
        if c['cell_type'] == 'markdown' or c['source'].strip(): kept.append(c)
    nb['cells'] = kept
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(nb, ensure_ascii=False))

def lessons(to:Path):
    "The rooms, in their order, each with its notebooks"
    index = ['# The toolkit, room by room\n\nEvery module is a notebook: define one small thing, say why it is so, show it, assert it. A room imports only from those above it.\n\n```{toctree}\n:maxdepth: 1\n']
    for room,what in dict(root='The lab, its settings and its notebooks', **rooms).items():
        found = sorted(o for o in (root/'nbs' if room == 'root' else root/'nbs'/room).glob('*.ipynb') if o.stem != 'index')
        for o in found: lesson(o, to/room/o.name)
        (to/room/'index.md').write_text(f'# {room}\n\n{what}\n\n```{{toctree}}\n:maxdepth: 1\n\n' + '\n'.join(o.stem for o in found) + '\n```\n')
        index.append(f'{room}/index')
    (to/'index.md').write_text('\n'.join(index) + '\n```\n')

def stage(to:Path):
    "Put together what Sphinx reads"
    if to.exists(): shutil.rmtree(to)
    shutil.copytree(root/'docs', to, ignore=shutil.ignore_patterns('build.py', '_build', '__pycache__'))
    (to/'reference').mkdir(exist_ok=True)
    for k,f in reference.items(): (to/'reference'/f'{k}.md').write_text(f() + '\n')
    lessons(to/'lessons')

def build(folder:Path)->int: # An exit code
    "The site of what was put together"
    from sphinx.cmd.build import main
    return main(['-b', 'html', '-W', '--keep-going', '-q', '-j', 'auto', str(folder/'source'), str(folder/'html')])

def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('folder', type=Path, nargs='?', default=root/'docs'/'_build')
    folder = p.parse_args().folder.resolve()
    stage(folder/'source')
    sys.exit(build(folder))

if __name__ == '__main__': main()
