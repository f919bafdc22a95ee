"The site: pages that lead somewhere, a reference that is read from the code, and lessons as they stand"
import importlib.util, json, re
import pytest
from support import root

pytest.importorskip('sphinx', reason="needs pip install 'embed-lab[docs]'")

@pytest.fixture(scope='module')
def docs():
    spec = importlib.util.spec_from_file_location('docs_build', root/'docs'/'build.py')
    res = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(res)
    return res

@pytest.fixture(scope='module')
def site(docs, tmp_path_factory):
    "Built with two rooms, which show what all look like"
    folder = tmp_path_factory.mktemp('site')
    docs.stage(folder/'source')
    lessons = folder/'source'/'lessons'
    index = (lessons/'index.md').read_text()
    for o in lessons.iterdir():
        if not o.is_dir() or o.name in ('root', 'experiments'): continue
        for f in o.iterdir(): f.unlink()
        o.rmdir()
        index = index.replace(f'{o.name}/index\n', '')
    (lessons/'index.md').write_text(index)
    return folder

def test_no_page_is_lost_and_no_link_is_broken(docs, site):
    assert docs.build(site) == 0
    made = {str(o.relative_to(site/'html').with_suffix('')) for o in (site/'html').rglob('*.html')}
    for o in (root/'docs').rglob('*.md'): assert str(o.relative_to(root/'docs').with_suffix('')) in made, f'{o.name} is in no table of contents'
    (site/'source'/'index.md').write_text((site/'source'/'index.md').read_text() + '\n[gone](how-to/nowhere.md)\n')
    assert docs.build(site) != 0

def test_the_reference_has_every_command_and_every_promised_name(site):
    import typer
    from embed_lab.cli.commands import app
    from embed_lab.door import promised
    commands, names = ((site/'source'/'reference'/f'{o}.md').read_text() for o in ('commands', 'names'))
    assert re.findall('^## `emb (.*)`', commands, re.M) == sorted(k for k,o in typer.main.get_command(app).commands.items() if not o.hidden)
    assert {*re.findall('^## `(.*)`', names, re.M)} == {o for v in promised.values() for o in v}
    assert '`--seeds' in commands and 'emb check data' in commands

def test_a_lesson_is_shown_without_what_is_there_for_nbdev(docs, tmp_path):
    docs.lesson(root/'nbs'/'data'/'08_leaks.ipynb', tmp_path/'a.ipynb')
    cells = json.loads((tmp_path/'a.ipynb').read_text())['cells']
    assert len(cells) > 10 and not any(''.join(c['source']).startswith('#|') for c in cells)
