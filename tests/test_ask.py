"A run can be asked: what is found is what evaluation found, the second time without the library, and what cannot be asked says so"
import json, shutil, subprocess, sys
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.evaluation.ask import open_searcher, read_queries, search_box
from embed_lab.lab import LabError, read_lab
from embed_lab.models.base import load_model, tiny_model, weights_hash
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.results import result_facts
from support import root

def made_run(home, name, model, base, **params):
    "A completed run that no one has computed"
    path = home/'results'/name
    if model: shutil.copytree(model, path/'final')
    run = mock_manifest(experiment=name, status='completed')
    run['inputs'] |= dict(parameters=dict(model=str(base), seed=42) | params, base_model=weights_hash(base))
    write_json(path/'run.json', run | (result_facts(path) if model else {}))
    return path

@pytest.fixture(scope='module')
def asked(tmp_path_factory, data, base, bert):
    "A lab with a run of each kind"
    home = (tmp_path_factory.mktemp('asked')/'lab').resolve()
    shutil.copytree(data, home/'data')
    (home/'settings.ini').write_text('[DEFAULT]\n')
    texts = [json.loads(o)['text'] for o in (home/'data'/'corpus.jsonl').read_text().splitlines()]
    tiny_model(texts, seed=7).save_pretrained(str(home/'other'))
    from embed_lab.models.crossencoders import load_cross_encoder
    load_cross_encoder(bert, None, 64).save_pretrained(str(home/'reader'))
    made_run(home, 'static', home/'other', base)
    made_run(home, 'encoder', bert, base)
    made_run(home, 'untuned', None, base, max_length=128)
    made_run(home, 'rerank', home/'reader', base, top=5, max_length=64)
    made_run(home, 'behind', home/'reader', base, top=5, max_length=64, retriever=str(home/'other'))
    return read_lab(home)

def own_query(lab): return json.loads((lab.data/'gold.jsonl').read_text().splitlines()[0])['query']

def by_evaluation(lab, query, *models):
    "What evaluation finds for a query of gold"
    from embed_lab.inventory.evaluate import search
    from embed_lab.models.bm25 import search_bm25
    task = open_searcher(lab, 'untuned').task
    q = next(k for k,t in task.queries.items() if t == query)
    return [search(load_model(o), task)[q] for o in models], search_bm25(task)[q]

def alike(found, true):
    "The same documents in the same order, up to rounding"
    assert [d for d,_ in found[:10]] == [d for d,_ in true[:10]]
    assert max(abs(a[1] - b[1]) for a,b in zip(found, true)) < 1e-4

@pytest.mark.parametrize('name', ['static', 'encoder'])
def test_a_run_finds_what_its_evaluation_found_with_the_library_and_without(asked, base, name):
    query = own_query(asked)
    models, words = by_evaluation(asked, query, asked.results/name/'final', base)
    for loaded in (['tuned'], []):
        searcher = open_searcher(asked, name)
        found, = searcher.search([query])
        assert [o for o in searcher._loaded if o == 'tuned'] == loaded and not searcher.said
        for o,true in zip(('tuned', 'base', 'bm25'), (*models, words)): alike(found.hits[o], true)
        assert found.to_dict()['in_gold'] and found.to_dict()['relevant']

def test_the_second_time_nothing_heavy_is_imported(asked):
    open_searcher(asked, 'static').search(['read a file'])
    code = ("import sys; from embed_lab.cli.commands import app\ntry: app(['search', 'static', 'write', 'a', 'file', '--json'])\nexcept SystemExit: pass\n"
        "print([o for o in ('torch', 'transformers', 'sentence_transformers', 'huggingface_hub') if o in sys.modules], file=sys.stderr)")
    res = subprocess.run([sys.executable, '-c', code], cwd=asked.path, capture_output=True, text=True, timeout=120)
    assert res.stderr.strip() == '[]', res.stderr
    assert json.loads(res.stdout)[0]['query'] == 'write a file'

def test_where_numpy_differs_the_library_answers(asked, monkeypatch):
    from embed_lab.evaluation import ask
    honest = ask.light_encoder
    def wrong(folder, length):
        make = honest(folder, length)
        return make and (lambda texts: -make(texts))
    monkeypatch.setattr(ask, 'light_encoder', wrong)
    (asked.results/'cache'/'asked.json').unlink(missing_ok=True)
    query, firsts = own_query(asked), []
    for _ in range(2):
        searcher = open_searcher(asked, 'static')
        firsts.append(searcher.search([query])[0].hits['tuned'][0])
        assert {*searcher._loaded} == {'tuned', 'base'}
    assert firsts[0] == firsts[1]
    (asked.results/'cache'/'asked.json').unlink()

def test_each_kind_of_run_has_its_systems(asked):
    query = own_query(asked)
    found = {o: open_searcher(asked, o).search([query])[0] for o in ('untuned', 'rerank', 'behind')}
    assert {k: [*o.hits] for k,o in found.items()} == dict(untuned=['base', 'bm25'], rerank=['tuned', 'base', 'bm25'], behind=['tuned', 'retriever', 'base', 'bm25'])
    for name,first in (('rerank', 'base'), ('behind', 'retriever')):
        hits = found[name].hits
        assert {d for d,_ in hits['tuned'][:5]} == {d for d,_ in hits[first][:5]} and hits['tuned'][5:] == hits[first][5:]

def test_many_queries_find_the_same_as_one(asked):
    queries = [json.loads(o)['query'] for o in (asked.data/'gold.jsonl').read_text().splitlines()][:90]
    searcher = open_searcher(asked, 'static')
    many = searcher.search(queries)
    assert len(many) == len(queries) and searcher._loaded # more than a few are worth the library
    for i in (0, 50): assert many[i].rows() == open_searcher(asked, 'static').search([queries[i]])[0].rows()

@pytest.fixture
def own(asked, tmp_path): return read_lab(shutil.copytree(asked.path, tmp_path/'lab'))

def said(lab, *args, monkeypatch):
    monkeypatch.chdir(lab.path)
    return CliRunner().invoke(app, ['search', *args])

def refused(lab, monkeypatch, *args):
    res = said(lab, *args, monkeypatch=monkeypatch)
    assert res.exit_code == 2 or isinstance(res.exception, LabError), res.output
    return str(res.exception) + res.output

def test_what_cannot_be_asked_says_so_in_a_line(own, monkeypatch):
    def refusal(*args): return refused(own, monkeypatch, *args)
    assert 'did you mean `static`' in refusal('statc', 'words')
    assert "emb search static 'how do I" in refusal('static') and 'give either words' in refusal('static', 'words', '--file', 'x.txt')
    assert 'a query is empty' in refusal('static', ' ')
    weights = own.results/'static'/'final'/'model.safetensors'
    weights.write_bytes(weights.read_bytes()[:-4] + b'abcd')
    assert 'no longer has the model that it made: final/model.safetensors has changed' in refusal('static', 'words')
    run = own.results/'encoder'/'run.json'
    run.write_text(run.read_text().replace('"completed"', '"failed"'))
    assert 'encoder is failed, and only a completed run can be asked' in refusal('encoder', 'words')

def test_what_has_changed_since_is_said(own):
    write_json(own.results/'static'/'eval'/'gold_metrics.json', dict(task=dict(corpus='sha256:0')))
    searcher = open_searcher(own, 'static')
    assert 'does not hold the documents that static was judged on' in searcher.said[0]
    assert 'planted' not in {d for d,_ in searcher.search(['a planted word'])[0].hits['tuned']}
    with (own.data/'corpus.jsonl').open('a') as f: f.write(json.dumps(dict(_id='planted', text='a planted word')) + '\n')
    assert open_searcher(own, 'static').search(['a planted word'])[0].hits['bm25'][0][0] == 'planted'

def test_another_base_than_the_run_began_with_is_said_each_time(own):
    path = own.results/'untuned'/'run.json'
    run = json.loads(path.read_text())
    run['inputs']['base_model'] = 'sha256:0'
    path.write_text(json.dumps(run))
    for _ in range(2): # with the library, and without
        searcher = open_searcher(own, 'untuned')
        searcher.search(['read a file'])
        assert [o.partition(' is not ')[2] for o in searcher.said] == ['the base model that untuned began with: its weights differ']

def test_a_query_does_not_find_itself(own):
    query = own_query(own)
    with (own.data/'corpus.jsonl').open('a') as f: f.write(json.dumps(dict(_id='itself', text=query)) + '\n')
    searcher = open_searcher(own, 'static')
    asked, other = searcher.search([query, query + ' now'])
    for o in ('tuned', 'base', 'bm25'): assert 'itself' not in dict(asked.hits[o]) and 'itself' in dict(other.hits[o])

def test_without_its_base_a_run_is_still_asked(own, monkeypatch):
    path = own.results/'static'/'run.json'
    run = json.loads(path.read_text())
    run['inputs'] |= dict(base_model='sha256:0', parameters=dict(model='./gone', seed=42))
    path.write_text(json.dumps(run))
    res = said(own, 'static', 'read a file', '--json', monkeypatch=monkeypatch)
    assert res.exit_code == 0 and 'the base model is left out: ./gone' in res.output
    assert [*open_searcher(own, 'static').search(['read a file'])[0].hits] == ['tuned', 'bm25']

def test_a_file_of_queries_gets_a_table_each(own, monkeypatch):
    (own.path/'asked.txt').write_bytes(b'\xef\xbb\xbfread a file\r\n\r\n<script>alert(1)</script> $x$\r\nread a file\r\n')
    monkeypatch.setenv('COLUMNS', '80')
    res = said(own, 'static', '--file', 'asked.txt', '--top', '2', monkeypatch=monkeypatch)
    assert res.exit_code == 0 and res.output.count('document') == 2, res.output
    assert max(map(len, res.output.splitlines())) <= 80

@pytest.mark.parametrize('name, content, why', [('a.txt', b'', 'no query in it'), ('a.txt', b'\xff\xfe\x00words', 'not UTF-8 text'),
    ('a.jsonl', b'{"query": "x"}\n{"query": 7}\n', 'a.jsonl:2: no `query`'), ('a.jsonl', b'[' * 10_000, 'a.jsonl:1: no `query`'), ('a.jsonl', b'{"query": " "}', 'a.jsonl:1: no `query`'), ('b.txt', None, 'no such file')])
def test_a_file_without_queries_is_refused_with_its_line(tmp_path, name, content, why):
    if content is not None: (tmp_path/name).write_bytes(content)
    with pytest.raises(LabError, match=why): read_queries(tmp_path/name)

def test_torn_notes_and_caches_are_made_again(own):
    first = open_searcher(own, 'static').search(['read a file'])[0].rows()
    for o in (own.results/'cache').iterdir(): o.write_bytes(o.read_bytes()[:-9])
    assert open_searcher(own, 'static').search(['read a file'])[0].rows() == first

def test_the_cell_of_an_experiment_costs_nothing_where_no_one_types(asked):
    from types import SimpleNamespace
    run = SimpleNamespace(name='exp 1', lab=None)
    assert "emb search 'exp 1'" in repr(search_box(run)) and not hasattr(run, '_searcher')
    for o in sorted((root/'nbs'/'experiments').glob('*.ipynb')):
        assert ''.join(json.loads(o.read_text())['cells'][-1]['source']) == 'search_box(run)', o.name
