"What must hold of the repository itself"
import ast, importlib, json, pkgutil, re, shutil, subprocess, sys
import pytest
from support import bin, root, sh
from readme import readme

notebooks = sorted((root/'nbs').rglob('*.ipynb'))
modules = sorted((root/'embed_lab').rglob('*.py'))
heavy = 'torch', 'transformers', 'sentence_transformers', 'papermill', 'plotly', 'pandas', 'nbdev', 'datasets', 'IPython'

def test_export_and_clean_change_nothing(tmp_path):
    copy = tmp_path/'copy'
    own = shutil.ignore_patterns('.venv', '.git', '__pycache__', '*.egg-info')
    shutil.copytree(root, copy, ignore=lambda at, names: {*own(at, names), *({'data', 'results', 'embed_lab_demo'} if at == str(root) else ())})
    for o in ([bin/'nbdev-export'], [bin/'nbdev-clean']): sh(*o, cwd=copy)
    for o in [*notebooks, *modules, root/'pyproject.toml', *(root/'nbs').glob('llms.txt')]:
        assert (copy/o.relative_to(root)).read_bytes() == o.read_bytes(), f'{o.relative_to(root)}: run nbdev-export and nbdev-clean, and commit both'
    assert sorted(o.relative_to(copy) for o in (copy/'embed_lab').rglob('*.py')) == [o.relative_to(root) for o in modules]

def test_contributing_leads_to_what_exists():
    "Every notebook, folder and command file that the map and the walks name"
    for file in ('CONTRIBUTING.md', 'AGENTS.md'):
        named = re.findall(r'`((?:nbs|tests|bench)/[\w/.]+)`', (root/file).read_text())
        for o in named: assert (root/o).exists() or (root/f'{o}.ipynb').exists(), f'{file} names {o}, which does not exist'

pages = [root/'README.md', root/'SKILL.md', *sorted((root/'docs').rglob('*.md'))]

@pytest.mark.parametrize('page', pages, ids=lambda o: str(o.relative_to(root)))
def test_every_command_and_option_of_a_page_exists(page):
    import typer
    from embed_lab.cli.commands import app
    commands = typer.main.get_command(app).commands
    text = re.sub(r'\\\|', '|', page.read_text())
    quoted = re.findall(r'^emb [^\n]+|(?<=`)emb [^`\n]+', text, re.M)
    for line in quoted:
        name, *words = line.split()[1:]
        if name.startswith('-'): continue
        options = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts)} | {'--help'}
        for o in re.findall(r'(?<![\w-])--?[a-z][a-z0-9-]*', ' '.join(words)): assert o in options, f'{line}: `emb {name}` has no option {o}'
    assert len(quoted) > 10 or page.name != 'README.md'

def test_one_version_is_told_everywhere():
    from embed_lab import __version__
    assert f'version: {__version__}\n' in (root/'CITATION.cff').read_text() and f'## {__version__}' in (root/'CHANGELOG.md').read_text()

def test_the_skill_is_its_lesson():
    from embed_lab.skill import skill_file
    assert (root/'SKILL.md').read_text() == skill_file(), 'python -c "from embed_lab.skill import skill_file; print(skill_file(), end=\'\')" > SKILL.md'

def test_readme_is_the_index(): assert (root/'README.md').read_text() == readme(), 'python tests/readme.py > README.md'

def test_every_public_name_is_importable_from_outside(tmp_path):
    names = [o.relative_to(root).with_suffix('').as_posix().replace('/', '.') for o in modules if not o.name.startswith('_')]
    code = f"import importlib\nfor m in {names!r}:\n    mod = importlib.import_module(m)\n    for n in mod.__all__: getattr(mod, n)"
    sh(sys.executable, '-c', code, cwd=tmp_path)

def test_the_toolkit_never_imports_the_inventory():
    for o in (root/'embed_lab').rglob('*.py'):
        if o.name == '_modidx.py' or 'inventory' in o.parts: continue
        for node in ast.walk(ast.parse(o.read_text())):
            names = [a.name for a in getattr(node, 'names', [])] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
            assert not any('inventory' in n.split('.') for n in names + [getattr(node, 'module', None) or '']), f'{o.name}:{node.lineno}'

light = 'lab', 'notebooks', 'data.rows', 'data.sample', 'models.base', 'runs.manifest', 'runs.record', 'runs.execute', 'labs.recipes', 'labs.choose', 'labs.scaffold', 'cli.commands'

def test_what_starts_commands_is_light(tmp_path):
    "Imported one after the other, in the order of the rooms, so that the first that is heavy is named"
    code = f"""import sys
from importlib import import_module
for name in {light!r}:
    import_module(f'embed_lab.{{name}}')
    if found := [o for o in {heavy!r} if o in sys.modules]: raise SystemExit(f'{{name}} imports {{found}}')"""
    sh(sys.executable, '-c', code, cwd=tmp_path)

def test_help_imports_nothing_heavy(tmp_path):
    code = f"import sys; from embed_lab.cli.commands import app\ntry: app(['--help'])\nexcept SystemExit: pass\nprint('loaded', *[o for o in {heavy!r} if o in sys.modules])"
    assert sh(sys.executable, '-c', code, cwd=tmp_path).stdout.strip().endswith('loaded')

@pytest.mark.parametrize('nb', sorted((root/'nbs'/'experiments').glob('*.ipynb')), ids=lambda o: o.stem)
def test_recipes_compose_and_define_nothing(nb):
    from embed_lab.notebooks import about, read_notebook, read_parameters
    assert all(o.help for o in read_parameters(nb).values()) and all(vars(about(nb)).values())
    code = [ast.parse(o['source']) for o in read_notebook(nb)['cells'] if o['cell_type'] == 'code']
    assert not [n for o in code for n in ast.walk(o) if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.Lambda))]
    assert sum(len(ast.unparse(o).splitlines()) for o in code[1:]) <= 27

def test_test_files_share_through_support_alone():
    for o in sorted((root/'tests').glob('*.py')):
        used = [n.module for n in ast.walk(ast.parse(o.read_text())) if isinstance(n, ast.ImportFrom) and n.module]
        assert not [m for m in used if m == 'conftest' or m.startswith('test_')], f'{o.name}: put what is shared into tests/support.py'

def test_saved_outputs_name_no_machine():
    for o in notebooks:
        text = o.read_text()
        assert not re.search(r'(/home/|/root/|/tmp/|/Users/|site-packages)', json.dumps([c.get('outputs') for c in json.loads(text)['cells']])), o.name
