"A lab's copied notebooks import what the table of promised names says, and nothing else"
import ast, inspect, json
from importlib import import_module
import pytest
from fastcore.docments import docments
from embed_lab.door import lessons, promised
from support import root

inventory = sorted((root/'nbs'/'inventory').glob('*.ipynb'))
experiments = sorted((root/'nbs'/'experiments').glob('*.ipynb'))

def imports(nb, exported:bool)->set: # Of (module, name), the inventory's own apart
    cells = [''.join(c['source']) for c in json.loads(nb.read_text())['cells'] if c['cell_type'] == 'code']
    nodes = [n for s in cells if s.startswith('#| export') == exported for n in ast.walk(ast.parse(s))]
    whole = [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names if a.name.startswith('embed_lab')]
    assert not whole, f'{nb.name} imports {whole[0]} whole; import the promised names instead'
    found = {(n.module, a.name) for n in nodes if isinstance(n, ast.ImportFrom) and (n.module or '').split('.')[0] == 'embed_lab' for a in n.names}
    return {(m.removeprefix('embed_lab.'), name) for m,name in found if not m.startswith('embed_lab.inventory')}

def pairs(table)->set: return {(m, name) for m,names in table.items() for name in names}

@pytest.mark.parametrize('nb', [*inventory, *experiments], ids=lambda o: o.stem)
def test_what_is_exported_imports_promised_names(nb):
    assert not imports(nb, exported=nb in inventory) - pairs(promised)

@pytest.mark.parametrize('nb', inventory, ids=lambda o: o.stem)
def test_lessons_import_promised_names(nb): assert not imports(nb, exported=False) - pairs(promised) - pairs(lessons)

def test_nothing_is_promised_for_nobody():
    used = set().union(*(imports(o, True) for o in inventory), *(imports(o, False) for o in experiments))
    assert pairs(promised) == used
    assert pairs(lessons) <= set().union(*(imports(o, False) for o in inventory))

def test_the_door_is_narrow():
    train, = (o for o in inventory if o.stem == '02_train')
    base = set().union(*(imports(o, True) for o in inventory if o.name < '05'))
    assert len(imports(train, True)) <= 15
    assert len(base) <= 35
    assert len(pairs(promised)) <= 47

@pytest.mark.parametrize('module,name', sorted(pairs(promised) | pairs(lessons)))
def test_a_promised_name_is_documented(module, name):
    thing = getattr(import_module(f'embed_lab.{module}'), name)
    assert (thing.__doc__ or '').strip() and not thing.__doc__.startswith(f'{name}('), f'{module}.{name} needs a docstring'
    if not inspect.isfunction(thing): return
    named = [k for k,v in inspect.signature(thing).parameters.items() if v.kind not in (v.VAR_POSITIONAL, v.VAR_KEYWORD)]
    silent = [k for k in named if not docments(thing)[k]]
    assert not silent, f'{module}.{name}: say what {silent} are'
