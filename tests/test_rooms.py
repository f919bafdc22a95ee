"Rooms stand in an order, and nothing points back: not by an import, not by a lazy one, not by a name in a string"
import ast, re
from pathlib import Path
import pytest

root = Path(__file__).resolve().parent.parent
rooms = '', 'data', 'models', 'runs', 'training', 'evaluation', 'delivery', 'labs', 'cli'  # '' holds lab and notebooks

def numbers(root):
    "Module → (place of its room, number of its notebook)"
    res = {}
    for o in sorted((root/'nbs').rglob('[0-9]*_*.ipynb')):
        room = o.parent.relative_to(root/'nbs').as_posix().removeprefix('.')
        if room in rooms: res['.'.join(filter(None, ('embed_lab', room, o.stem.partition('_')[2])))] = rooms.index(room), int(o.stem.partition('_')[0])
    return res

def source(module, root): return root/f"{module.replace('.', '/')}.py"

def absolute(node, module):
    "What a `from … import` names, and what may be modules in it"
    base = '.'.join([*module.split('.')[:-node.level], *filter(None, [node.module])]) if node.level else node.module or ''
    return [base, *(f'{base}.{o.name}' for o in node.names)]

def docstrings(tree):
    "Texts that only describe: they may name anything"
    for o in ast.walk(tree):
        for part in getattr(o, 'body', []) if isinstance(getattr(o, 'body', None), list) else []:
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant): yield id(part.value)

def named(code, module):
    "(line, dotted name) of everything of this package that a module imports, or names in a text"
    tree = ast.parse(code)
    mute = set(docstrings(tree))
    for o in ast.walk(tree):
        match o:
            case ast.ImportFrom(): yield from ((o.lineno, k) for k in absolute(o, module))
            case ast.Import(): yield from ((o.lineno, k.name) for k in o.names)
            case ast.Constant(str(text)) if id(o) not in mute: yield from ((o.lineno, k) for k in re.findall(r'embed_lab(?:\.\w+)+', text))

def faults(module, code, known):
    "Lines of a module that point against the order, in words"
    for line,name in named(code, module):
        if not name.startswith('embed_lab.'): continue
        where = f'{module}:{line} names {name}'
        if name.split('.')[1] == 'inventory': yield f'{where}, which is copied into labs'
        other = next((k for k in sorted(known, key=len, reverse=True) if f'{name}.'.startswith(f'{k}.')), None)
        if other and other != module and known[other] >= known[module]: yield f'{where}, which comes after it'

@pytest.fixture(scope='module')
def known(): return numbers(root)

def test_every_module_has_its_notebook_and_number(known):
    made = {'.'.join(o.relative_to(root).with_suffix('').parts) for o in (root/'embed_lab').rglob('*.py') if not o.name.startswith('_') and 'inventory' not in o.parts}
    assert made == {k for k in known if source(k, root).exists()} and len(set(known.values())) == len(known)

def test_nothing_points_back(known):
    "With one number for each module, this leaves no circle either"
    found = [o for k in known for o in faults(k, source(k, root).read_text(encoding='utf-8'), known)]
    assert not found, '\n'.join(found)

@pytest.mark.parametrize('line', ['from embed_lab.runs.sweep import point_main', 'from .sweep import child', 'from . import sweep', 'import embed_lab.training.contract', 'from ..training.contract import check',
    'def f():\n    from embed_lab.evaluation import scores', "import_module('embed_lab.runs.sweep').point_main()", "run(['-c', 'from embed_lab.runs.execute import plan; plan()'])",
    "heavy = 'embed_lab.inventory.train', 'papermill'", 'from embed_lab.inventory import train', "target = 'embed_lab.runs.sweep:point_main'"])
def test_what_points_back_is_found(known, line): assert [*faults('embed_lab.runs.warm', line, known)]

@pytest.mark.parametrize('line', ['from .record import start', 'from ..data.rows import read_rows', "serve = 'from embed_lab.runs.warm import serve; serve()'", "group = 'embed_lab.recipes'",
    'def f():\n    "As `embed_lab.evaluation.scores` says"', 'import os # embed_lab.labs.recipes'])
def test_what_is_in_order_is_let_be(known, line): assert not [*faults('embed_lab.runs.warm', line, known)]

# what processes are told

def texts(module):
    "(line, text) of every string that is not only a description, and of every keyword"
    tree = ast.parse(source(module, root).read_text(encoding='utf-8'))
    mute = set(docstrings(tree))
    for o in ast.walk(tree):
        if isinstance(o, ast.Constant) and isinstance(o.value, str) and id(o) not in mute: yield o.lineno, o.value
        if isinstance(o, ast.keyword) and o.arg: yield o.value.lineno, o.arg

def test_variables_are_named_in_one_place(known):
    found = [f'{k}:{line}' for k in known if k != 'embed_lab.lab' for line,text in texts(k) if 'EMB_' in text]
    assert not found, f"read and write these with `variables` and `Variables` of embed_lab.lab: {', '.join(found)}"

def test_every_variable_is_known_by_its_field():
    from embed_lab.lab import Variables, variables
    some = Variables(run='a', hardware='cpu fp32', elsewhere='1')
    assert some.environ() == dict(EMB_RUN='a', EMB_HARDWARE='cpu fp32', EMB_ELSEWHERE='1') and variables(some.environ()) == some
    assert variables(dict(EMB_RUN='', PATH='/')) == Variables() and Variables().environ() == {}

# what a run's files are called

def test_names_of_a_runs_files_stand_in_one_place(known):
    "Files by their names, also within patterns; folders, whose names are words, where they are joined to a path"
    from embed_lab.runs.results import RunFiles
    named = {v for k,v in vars(RunFiles).items() if not k.startswith('_')}
    files = {Path(o).name for o in named if '.' in o} - {'README.md'}  # the card's name is that of many files
    folders = {o for o in named if '.' not in o}
    def spelt(tree):
        mute = set(docstrings(tree))
        for o in ast.walk(tree):
            if isinstance(o, ast.Constant) and isinstance(o.value, str) and id(o) not in mute and ' ' not in o.value and any(k in o.value for k in files): yield o.lineno
            if isinstance(o, ast.BinOp) and isinstance(o.op, ast.Div) and isinstance(o.right, ast.Constant) and str(o.right.value).split('/')[0] in folders: yield o.lineno
    found = [f'{k}:{line}' for k in known if k != 'embed_lab.runs.results' for line in spelt(ast.parse(source(k, root).read_text(encoding='utf-8')))]
    assert not found, f"take the name from embed_lab.runs.results.RunFiles: {', '.join(found)}"
