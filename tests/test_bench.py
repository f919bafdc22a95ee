"Benchmarks take every name they are given, and read the house right"
import json, re
import pytest
from support import root

@pytest.fixture
def recipes(monkeypatch):
    monkeypatch.syspath_prepend(root/'bench')
    import recipes
    return recipes

def test_without_a_choice_every_arm_is_run_those_with_a_comma_in_their_names_too(recipes):
    args = recipes.arguments(['folder'])
    assert args.arm == recipes.arms and any(',' in o for o in args.arm) and args.data == [*recipes.sets]
    chosen = recipes.arguments(['folder', '--arm', 'hard, audited', 'medquad'])
    assert [*chosen.arm] == ['hard, audited'] and chosen.data == ['medquad']

@pytest.mark.parametrize('words', [['--arm', 'hard'], ['--arm', 'in-batch,hard, audited'], ['nl2bash,medquad']])
def test_an_unknown_name_is_refused_with_the_nearest(recipes, capsys, words):
    with pytest.raises(SystemExit): recipes.arguments(['folder', *words])
    assert re.search(r'there is no .*; (did you mean|choose from) ', capsys.readouterr().err)

def test_no_benchmark_takes_several_names_in_one_string():
    for o in sorted((root/'bench').glob('*.py')):
        if o.name != 'same.py': assert "split(',')" not in o.read_text(), f'{o.name}: one argument for each name, see bench/arguments.py'

def checkout(path, sources):
    "Notebooks and modules of one function or import each"
    for at,code in sources.items():
        room, name = at.rsplit('/', 1)
        module = '.'.join([*filter(None, room.split('/')), name[3:]])
        cell = dict(cell_type='code', source=f'#| export\n{code}')
        head = dict(cell_type='code', source=f'#| default_exp {module}')
        nb, py = path/'nbs'/f'{at}.ipynb', path/'embed_lab'/f"{module.replace('.', '/')}.py"
        for o in (nb, py): o.parent.mkdir(parents=True, exist_ok=True)
        nb.write_text(json.dumps(dict(cells=[head, cell])))
        py.write_text(code)
    return path

def test_imports_against_the_order_are_found_lazy_ones_and_names_in_strings_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(root/'bench')
    from structure import House
    house = House(checkout(tmp_path, {
        'data/00_rows': 'def read(): from ..runs.sweep import sweep',
        'data/01_check': 'from .rows import read',
        'runs/00_warm': "child = 'from embed_lab.runs.sweep import sweep'",
        'runs/01_sweep': 'from .warm import child\ndef read(): pass',
        'inventory/00_train': 'from embed_lab.data.rows import read'}))
    found = house.figures()
    assert {o.user for o in house.against_rooms()} == {'data.rows'} and found['imports against the numbers'] == 1
    assert found['the same by a name in a string'] == 1 and house.circles() == [{'runs.warm', 'runs.sweep'}]
    assert house.meanings() == {'read': ['data.rows', 'runs.sweep']}
