"What leaves the lab is what was judged: graphs, int8, small vectors, and a folder that is written whole or not at all"
import json, shutil
import numpy as np
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json
from embed_lab.lab import LabError, read_lab
from embed_lab.models.base import load_model, tiny_model, tiny_transformer, weights_hash
from embed_lab.models.canary import read_canary, stamp, write_canary
from embed_lab.models.crossencoders import model_kind
from embed_lab.models.portable import make_portable
from embed_lab.models.vectors import encode, unit_vectors
from embed_lab.runs.looks import count_looks
from embed_lab.runs.manifest import mock_manifest
from embed_lab.runs.results import result_facts

for o in ('onnx', 'onnxscript', 'onnxruntime'): pytest.importorskip(o, reason="pip install 'embed-lab[deploy]'")
words = 'open close hold press the a red blue green button lamp switch for ten seconds until it blinks'.split()
texts = [' '.join(np.random.default_rng(i).choice(words, 3 + i % 9)) for i in range(48)]

def folder_of(model, folder):
    "An encoder of a graph, as a folder holds it"
    from embed_lab.delivery.onnx import OnnxEncoder, write_encoder, write_graph
    write_encoder(model, folder)
    return OnnxEncoder(folder, write_graph(model, folder/'model.onnx'), 1)

def cosines(ours, theirs): return (unit_vectors(ours) * unit_vectors(theirs)).sum(1)

# the graph

@pytest.mark.parametrize('pooling', ['cls', 'dense'])
def test_a_graph_gives_the_vectors_of_the_library(tmp_path, pooling):
    "With prompts, texts that are cut, and whatever follows the transformer"
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
    own = tiny_transformer(texts)
    more = [Pooling(32, 'mean'), Dense(32, 16), Normalize()] if pooling == 'dense' else [Pooling(32, pooling)]
    model = SentenceTransformer(modules=[own[0], *more], device='cpu', prompts=dict(query='hold the red: ', document='a '), local_files_only=True)
    model.max_seq_length = 24
    coder = folder_of(model, tmp_path)
    for kind in ('query', 'document'):
        some = [*texts, 'open ' * 100, '', 'nothing it knows']
        assert cosines(coder.encode(some, kind), encode(model, some, kind)).min() > .99999
        np.testing.assert_allclose(coder.encode(some, kind), encode(model, some, kind), atol=1e-4)
    assert cosines(coder.encode(texts, 'query'), coder.encode(texts, 'document')).min() < .999 # prompts are not lost
    names = [o.name for o in coder.session.get_outputs()]
    assert names == ['sentence_embedding', 'last_hidden_state']

def test_what_is_no_graph_says_so(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from embed_lab.delivery.onnx import OnnxEncoder, write_encoder, write_graph
    own = tiny_transformer(texts)
    model = SentenceTransformer(modules=[own[0], Pooling(32, include_prompt=False)], device='cpu', prompts=dict(query='q: '), local_files_only=True)
    with pytest.raises(LabError, match='leaves out the tokens of the prompt'): write_graph(model, tmp_path/'a.onnx')
    write_encoder(own, tmp_path)
    (tmp_path/'torn.onnx').write_bytes(b'torn')
    with pytest.raises(LabError, match='torn.onnx does not open'): OnnxEncoder(tmp_path, tmp_path/'torn.onnx')

# int8

@pytest.fixture(scope='module')
def spiky(tmp_path_factory):
    "A model some of whose activations are larger than the rest, as those of trained ones are, and its graph"
    torch, folder = pytest.importorskip('torch'), tmp_path_factory.mktemp('spiky')
    model = tiny_transformer(texts, 128)
    with torch.no_grad():
        for o in model[0].model.encoder.layer: o.attention.output.LayerNorm.weight[[3, 77]] = 3
    return folder, folder_of(model, folder)

def test_evening_out_changes_nothing_and_int8_little(spiky, tmp_path, caplog):
    import onnx
    from embed_lab.delivery import precision
    from embed_lab.delivery.onnx import OnnxEncoder
    folder, whole = spiky
    model = precision._read_graph(folder/'model.onnx')
    precision._even_out(model, whole, texts[:24])
    onnx.save(model, str(tmp_path/'even.onnx'))
    files = dict(even=tmp_path/'even.onnx', weights=precision.write_int8_weights(folder/'model.onnx', tmp_path/'weights.onnx'),
        products=precision.write_int8_products(folder/'model.onnx', tmp_path/'products.onnx', folder, texts[:24]))
    assert not caplog.records # the libraries have remarks for those who call them
    far = {k: 1 - cosines(OnnxEncoder(folder, o, 1).encode(texts, 'document'), whole.encode(texts, 'document')).min() for k,o in files.items()}
    assert sum(o.op_type == 'Mul' and o.output[0].endswith('.even') for o in model.graph.node) == 8 # inputs of 12 products
    assert far['even'] < 1e-5 < far['weights'] < .002 and far['products'] < .01, far
    assert max(files[k].stat().st_size for k in ('weights', 'products')) < .6*(folder/'model.onnx').stat().st_size

def test_products_that_lose_too_much_stay_in_float(spiky, tmp_path, monkeypatch):
    import onnx
    from embed_lab.delivery import precision
    folder, _ = spiky
    def integers(most):
        monkeypatch.setattr(precision, 'most_lost', most)
        file = precision.write_int8_products(folder/'model.onnx', tmp_path/'p.onnx', folder, texts[:24])
        return file and sum(o.op_type == 'MatMulInteger' for o in onnx.load(str(file)).graph.node)
    losses = precision._losses(precision._read_graph(folder/'model.onnx'), precision.OnnxEncoder(folder, folder/'model.onnx'), texts[:24])
    assert len(losses) == 12 and integers(1) == 12 and integers(0) is None

# small vectors

def test_small_vectors_rank_as_their_products_say():
    from embed_lab.delivery.compact import int8_steps, ranked, to_int8, vector_bytes
    rng = np.random.default_rng(0)
    docs = unit_vectors(rng.normal(size=(400, 40)).astype(np.float32) * np.linspace(.1, 1, 40, dtype=np.float32))
    q, order, steps = unit_vectors(docs[:30] + .1*rng.normal(size=(30, 40)).astype(np.float32)), np.arange(400), int8_steps(docs[200:])
    def first(scores): return np.argsort(-scores, axis=1, kind='stable')[:,:10]
    back = to_int8(docs, steps).astype(np.float64) * steps
    true = first(q @ docs.T)
    got = {k: ranked(k, q, docs, steps, order)[:,:10] for k in ('float32', 'int8', 'int8, rescored', 'binary', 'binary, rescored')}
    def share(a, b): return np.mean([len({*x} & {*y})/10 for x,y in zip(a, b)])
    assert (got['float32'] == true).all()
    assert share(got['int8, rescored'], first(q.astype(np.float64) @ back.T)) > .995 # its candidates hold them all but for ties
    assert share(got['int8'], true) > .93 and share(got['int8, rescored'], true) >= share(got['int8'], true)
    signs = np.where(docs > 0, 1, -1)
    assert (got['binary'] == first(np.where(q > 0, 1, -1) @ signs.T)).all()
    assert share(got['binary, rescored'], true) > share(got['binary'], true) + .1
    assert [vector_bytes(k, 40) for k in ('float32', 'int8', 'binary', 'binary, rescored')] == [(160, 160), (40, 40), (5, 5), (5, 45)]

# the gate

def made_run(home, name, saved, **params):
    "A completed run that no one has computed"
    path = home/'results'/name
    if saved: shutil.copytree(saved, path/'final')
    if saved and model_kind(saved) != 'cross-encoder': write_canary(path/'final', remarks=make_portable(path/'final', load_model(saved).max_seq_length))
    run = mock_manifest(experiment=name, status='completed')
    run['inputs'] |= dict(parameters=dict(model=str(saved), seed=42) | params, base_model=weights_hash(params.get('model') or saved))
    write_json(path/'run.json', run | (result_facts(path) if saved else {}))

@pytest.fixture(scope='module')
def gated(tmp_path_factory, data, base, bert):
    "A lab with a run of each kind"
    home = (tmp_path_factory.mktemp('gated')/'lab').resolve()
    shutil.copytree(data, home/'data')
    leaked = (home/'data'/'gold.jsonl').read_text().splitlines()[0]
    with (home/'data'/'train.jsonl').open('a') as f: f.write(leaked + '\n')
    (home/'settings.ini').write_text('[DEFAULT]\n')
    from embed_lab.models.crossencoders import load_cross_encoder
    load_cross_encoder(bert, None, 64).save_pretrained(str(home/'reader'))
    made_run(home, 'encoder', bert)
    made_run(home, 'static', base)
    made_run(home, 'untuned', None, model=str(base))
    made_run(home, 'rerank', home/'reader', model=str(base), top=5, max_length=64)
    return read_lab(home)

def export(lab, monkeypatch, *args):
    monkeypatch.chdir(lab.path)
    res = CliRunner().invoke(app, ['export', *map(str, args)])
    assert res.exception is None or isinstance(res.exception, SystemExit), res.exception
    return res.exit_code, res.stdout, res.stderr

def test_what_passes_is_written_and_is_what_was_judged(gated, monkeypatch, tmp_path):
    from embed_lab.delivery.compact import cut_vectors
    from embed_lab.delivery.onnx import OnnxEncoder
    to = tmp_path/'out'
    code, said, _ = export(gated, monkeypatch, 'encoder', '--onnx', '--int8', '--dims', 16, '--vectors', 'int8', '--within', .9, '--to', to, '--json')
    told, kept = json.loads(said), json.loads((to/'export.json').read_text())
    assert code == 0 and told['judged'] == kept['judged'] and [o['file'] for o in kept['written']] == ['onnx', 'int8']
    rows = {(o['weights'], o['runtime'], o['dims'], o['vectors']): o for o in told['judged']}
    assert rows['float32', 'torch', 32, 'float32']['gain'] == dict(mean=0, low=0, high=0, n=kept['queries'])
    assert abs(rows['float32', 'onnxruntime', 32, 'float32']['gain']['mean']) < 1e-9 # the same ranking
    assert {(o['dims'], o['vectors']) for o in told['judged']} == {(d, v) for d in (32, 16) for v in ('float32', 'int8', 'int8, rescored')}
    assert all(o['asked'] == (o['runtime'] == 'onnxruntime' and o['dims'] == 16 and o['vectors'] != 'float32') for o in told['judged'])
    final = load_model(gated.results/'encoder'/'final')
    want = cut_vectors(encode(final, texts, 'document'), 16)
    for name,least in (('model.onnx', .99999), ('model_int8.onnx', .99)):
        assert cosines(OnnxEncoder(to, to/'onnx'/name).encode(texts, 'document'), want).min() > least
    assert json.loads((to/'vectors.json').read_text())['steps_from'] == 'train' and not (to/'model.safetensors').exists()
    assert 'Plotly' in (to/'gate.html').read_text()
    snippet, names = (to/'README.md').read_text().partition('```python\n')[2].partition('```')[0], dict(FOLDER=str(to))
    exec(snippet, names)
    assert cosines(names['encode'](texts), want).min() > .99999

def test_fewer_dimensions_are_a_model_that_the_library_reads(gated, monkeypatch, tmp_path):
    for run in ('encoder', 'static'):
        assert export(gated, monkeypatch, run, '--dims', 8, '--within', .9, '--to', tmp_path/run)[0] == 0
        vecs, whole = (encode(load_model(o), texts, 'document') for o in (tmp_path/run, gated.results/run/'final'))
        np.testing.assert_allclose(vecs, unit_vectors(whole[:,:8]), atol=1e-5)
        assert read_canary(tmp_path/run).stamp == stamp(tmp_path/run) != stamp(gated.results/run/'final')
    assert json.loads((tmp_path/'encoder'/'1_Pooling'/'config.json').read_text())['pooling_mode_mean_tokens'] # for all readers

def test_what_may_lose_too_much_is_refused(gated, monkeypatch, tmp_path):
    code, said, _ = export(gated, monkeypatch, 'static', '--dims', 2, '--vectors', 'binary', '--to', tmp_path/'out')
    assert code == 1 and 'is refused: nDCG@10 -' in said and 'nothing is written' in said and not (tmp_path/'out').exists()
    code, said, _ = export(gated, monkeypatch, 'static', '--dims', 2, '--vectors', 'binary', '--within', .99, '--to', tmp_path/'out')
    assert code == 0 and 'binary vectors' in said

def test_a_look_is_logged_once_for_the_same_export(gated, monkeypatch, tmp_path):
    def times():
        lines = (gated.results/'gold_log.jsonl').read_text().splitlines() if (gated.results/'gold_log.jsonl').exists() else []
        gold, = count_looks(gated, [json.loads(lines[-1])['gold']]) if lines else [None]
        return gold.times if gold else 0
    before = times()
    for dims in (24, 24, 12): export(gated, monkeypatch, 'static', '--dims', dims, '--within', .9, '--to', tmp_path/'out')
    assert times() == before + 2

def test_int8_is_fitted_to_train_alone(gated):
    from embed_lab.data.reading import read_rows
    from embed_lab.delivery.gate import ExportRequest, _for_steps, _open_judge, _train_texts
    judge = _open_judge(gated, 'static', ExportRequest(vectors='int8'), lambda *_: None)
    rows = read_rows(gated.data/'train.jsonl')
    (some, said), (passages, queries) = _for_steps(judge), _train_texts(judge)
    assert {*some} <= {o['passage'] for o in rows} and said == 'train'
    assert {*queries} <= {o['query'] for o in rows} and not {*queries} & {*judge.task.queries.values()}

def test_an_interrupted_export_leaves_what_was_there(gated, monkeypatch, tmp_path):
    from embed_lab.delivery import gate
    to = tmp_path/'out'
    assert export(gated, monkeypatch, 'static', '--to', to)[0] == 0
    before, write = (to/'export.json').read_bytes(), gate._write_record
    def interrupted(*args):
        write(*args)
        raise KeyboardInterrupt
    monkeypatch.setattr(gate, '_write_record', interrupted)
    for where in (to, tmp_path/'new'): assert export(gated, monkeypatch, 'static', '--dims', 16, '--within', .9, '--to', where)[0] == 130
    assert [o.name for o in tmp_path.iterdir()] == ['out'] and (to/'export.json').read_bytes() == before
    monkeypatch.setattr(gate, '_write_record', write)
    assert export(gated, monkeypatch, 'static', '--dims', 16, '--within', .9, '--to', to)[0] == 0
    assert [o.name for o in tmp_path.iterdir()] == ['out'] and (to/'export.json').read_bytes() != before

@pytest.mark.parametrize('args,why', [
    (('rerank', '--onnx'), 'a re-ranker reads query and passage together'), (('untuned',), 'left no model'), (('nothing',), 'no run `nothing`'),
    (('static', '--dims', 99), '32 dimensions, so it cannot be cut to 99'), (('static', '--vectors', 'int4'), 'choose from float32, int8, binary'),
    (('static', '--within', -1), 'such as 0.01'), (('static', '--to', 'data'), 'something other than an export'),
    (('static', '--to', 'results/static/out'), 'whose files are sealed'), (('static', '--to', '.'), 'holds the lab'),
    (('static', '--to', 'settings.ini'), 'is not a folder')])
def test_what_cannot_be_exported_says_why_on_one_line(gated, monkeypatch, args, why):
    code, _, said = export(gated, monkeypatch, *args)
    assert code == 2 and said.splitlines()[-1].startswith('emb: ') and why in said and 'Traceback' not in said
