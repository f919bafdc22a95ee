"One name, one meaning: no public name of the toolkit is defined twice, and each says what it is for"
import ast
from collections import defaultdict
from pathlib import Path

root = Path(__file__).parents[1]/'embed_lab'
generated = {'_modidx'}
# A command is called after what it calls: `emb compare` is `compare`
commands = {'cli.lab_commands', 'cli.model_commands'}

def modules(root):
    "The modules of the toolkit and of the inventory, as trees"
    for path in sorted(root.rglob('*.py')):
        name = '.'.join(path.relative_to(root).with_suffix('').parts)
        if path.stem not in generated and path.stem != '__init__': yield name, ast.parse(path.read_text())

def is_patch(node):
    "Whether a function is written as a method of a class defined elsewhere"
    decorators = [o.func if isinstance(o, ast.Call) else o for o in getattr(node, 'decorator_list', ())]
    return any(isinstance(o, ast.Name) and o.id.startswith('patch') for o in decorators)

def targets(node):
    "The names that a statement at the top of a module gives a value"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef): return [] if is_patch(node) else [node.name]
    if isinstance(node, ast.AnnAssign): return [node.target.id]
    if not isinstance(node, ast.Assign): return []
    return [o.id for t in node.targets for o in ast.walk(t) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store)]

def defined(tree):
    "Public names that a module itself defines, imports aside"
    return {name: node for node in tree.body for name in targets(node) if not name.startswith('_')}

def twice(root):
    "Public names that several modules define, with those modules"
    found = defaultdict(set)
    for module,tree in modules(root):
        for name in defined(tree): found[name].add(module)
    return {name: sorted(where) for name,where in found.items() if len(where - commands) > 1}

def undocumented(root):
    "Public functions and classes without a docstring"
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return [f'{module}.{name}' for module,tree in modules(root) for name,node in defined(tree).items()
        if isinstance(node, definitions) and not ast.get_docstring(node)]

def test_a_public_name_is_defined_in_one_module():
    assert twice(root) == {}

def test_public_functions_and_classes_have_docstrings():
    assert undocumented(root) == []

def test_two_meanings_and_a_missing_docstring_are_found(tmp_path):
    (tmp_path/'data').mkdir()
    (tmp_path/'cli').mkdir()
    (tmp_path/'data'/'rows.py').write_text('class Finding:\n    "A row"\nfew, most = 2, 3\ndef check(): pass\n')
    (tmp_path/'data'/'page.py').write_text('from .rows import Finding, few as some\nmost:int = 3\n@patch\ndef few(self:Finding): pass\n_most = 3\n')
    (tmp_path/'cli'/'lab_commands.py').write_text('def check():\n    "Check rows"\n')
    assert twice(tmp_path) == {'most': ['data.page', 'data.rows']}
    assert undocumented(tmp_path) == ['data.rows.check']
