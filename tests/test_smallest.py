"Whatever comes after training, on the smallest data that `emb check` calls clean: each recipe runs to its verdict, which lists and comparisons show"
import ast, json, shutil
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.check import check_folder
from embed_lab.data.files import write_rows
from embed_lab.lab import read_lab
from embed_lab.labs.recipes import recipes
from embed_lab.labs.scaffold import init_lab
from embed_lab.models.base import tiny_transformer

tails = 'in-batch', 'matryoshka', 'distil', 'rerank', 'untuned', 'bake-off', 'query-adapter', 'merge' # what comes after the training of the other recipes is what comes after that of in-batch

pytestmark = pytest.mark.usefixtures('own_path')

def row(query, passage, label=1, **more): return dict(query=query, passage=passage, label=label) | more

def smallest():
    "File → rows: what every recipe can learn from, and two questions with an answer each wherever there must be some"
    taught = dict(negatives=['hold the red button'], teacher_scores=[7., -2.])
    train = [row('reset my router', 'press its small switch', **taught), row('pair a headset', 'open the blue menu', **taught), row('pair a headset', 'press its small switch', 0)]
    return dict(train=train, dev=[row('clean a lens', 'wipe it with cloth'), row('charge the lamp', 'plug in a cable')],
        gold=[row('mount my camera', 'turn four long screws'), row('unlock that door', 'enter your secret code')],
        guard=[row('what is rain', 'water that falls down'), row('who was Euler', 'someone good at sums')])

def two(a, b, c, d): return [row(a, c), row(b, d)]

no_word, ties = two('?', '??', '★', '☂☂'), two('sell it', 'lend it', 'A Word', 'a word') # vectors of `A Word` and `a word` are equal
one_answer = [row('cut my hair', 'call a barber'), row('trim my beard', 'call a barber'), row('cut my hair', 'buy a comb', 0)]
itself = two('mount my camera', 'mount my webcam', 'mount my webcam', 'mount my camera') # each query is the only wrong document
edges = dict(
    no_word=dict(gold=no_word, guard=ties, dev=one_answer, corpus=[dict(_id=f'd{i}', text=o['passage']) for i,o in enumerate(no_word)]),
    ties=dict(gold=ties, guard=one_answer, dev=no_word),
    one_answer=dict(gold=[o | dict(tags=[o['passage']]) for o in one_answer], guard=no_word, dev=ties),
    itself=dict(gold=itself, guard=()))

def words(): return [t for o in (smallest(), *edges.values()) for rows in o.values() for r in rows for k in ('query', 'passage', 'text') for t in (r.get(k, ''), *r.get('negatives', []))]

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A lab of every recipe, on a transformer that knows every word"
    home = tmp_path_factory.mktemp('smallest')
    data = home/'data'
    for k,rows in smallest().items(): write_rows(data/f'{k}.jsonl', rows)
    lab = init_lab(home/'lab', [*recipes()], data).lab
    tiny_transformer(words()).save_pretrained(str(lab.path/'bert'))
    ini = lab.path/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', 'model = bert'))
    return lab.path

def show(value): # As a notebook would, under the cell that ends in it
    html = getattr(value, '_repr_html_', None)
    return html() if html else repr(value)

def run_cells(notebook, **params):
    "Execute an experiment in this process, and show what its cells end in"
    names = {}
    for c in json.loads(notebook.read_text())['cells']:
        if c['cell_type'] != 'code': continue
        body = ast.parse(''.join(c['source'])).body
        ends = body.pop() if isinstance(body[-1], ast.Expr) else None
        if c['metadata'].get('tags') == ['parameters']: names |= dict(__name__='__main__')
        if 'start' in ''.join(c['source']) and 'globals()' in ''.join(c['source']): names['start'] = lambda given, start=names['start']: start(given, notebook.stem)
        exec(compile(ast.Module(body, []), notebook.stem, 'exec'), names)
        if c['metadata'].get('tags') == ['parameters']: names |= {k: v for k,v in params.items() if k in names}
        if ends: show(eval(compile(ast.Expression(ends.value), notebook.stem, 'eval'), names))
    return names['run']

@pytest.mark.parametrize('edge', edges)
def test_every_recipe_comes_to_a_verdict(made, tmp_path, monkeypatch, edge):
    lab = read_lab(shutil.copytree(made, tmp_path/'lab'))
    for o in lab.data.iterdir(): o.unlink()
    for k,rows in (smallest() | edges[edge]).items():
        if rows: write_rows(lab.data/f'{k}.jsonl', rows)
    found = check_folder(lab.path)
    assert found.clean, found.findings
    monkeypatch.chdir(lab.path)
    ran = [o for k,o in recipes().items() if edge == 'no_word' or k in tails]
    for o in ran:
        run = run_cells(lab.experiments/f'{o.notebook.stem}.ipynb', max_length=16, dim=8, tuned='results/exp_02_in_batch/final')
        assert run.manifest['status'] == 'completed', run
        shutil.rmtree(lab.results/run.name)
        run.path.rename(lab.results/run.name) # as of a plain papermill
    names = [o.notebook.stem for o in ran][:3]
    listed = CliRunner().invoke(app, ['ls', '--verify'])
    assert listed.exit_code == 0 and listed.stdout.count(' completed ') == len(ran), listed.output
    compared = CliRunner().invoke(app, ['compare', *names, '--report', 'report.html'])
    assert compared.exit_code in (0, 1) and (lab.path/'report.html').exists(), compared.output
