"A matrix on the queries: documents keep the base model's vectors, and every reader sees both sides right"
import json, shutil, sys
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.reading import read_rows
from embed_lab.inventory.adapter import AdaptedEncoder, adapted_model, lesson_loss, query_lessons
from embed_lab.inventory.datasets import Splits, to_dataset
from embed_lab.lab import LabError, read_lab
from embed_lab.models.base import load_model, tiny_model, tiny_transformer
from embed_lab.models.crossencoders import model_kind
from embed_lab.models.light import light_encoder
from embed_lab.models.vectors import encode_cached, unit_vectors
from embed_lab.runs.results import read_run
from support import emb, made_lab, manifest

exp = 'exp_11_query_adapter'

@pytest.fixture(scope='module')
def adapted(tmp_path_factory, data, base):
    lab = made_lab(tmp_path_factory.mktemp('adapted')/'lab', data, base, ['query-adapter'])
    emb('run', exp, '-p', 'lr', .01, cwd=lab)
    return lab

def test_it_beats_its_base_and_leaves_documents_alone(adapted, base):
    run = adapted/'results'/exp
    run = next(o for o in (adapted/'results').glob(f'{exp},*') if (o/'run.json').exists())
    m, before, model = manifest(run), load_model(base), load_model(run/'final')
    assert m['status'] == 'completed' and m['headline']['gain']['low'] > 0 and m['stages']['adapter']['moved'] > 0 and len(m['looks']) == 1
    texts = [o['passage'] for o in read_rows(adapted/'data'/'gold.jsonl')][:20]
    assert (model.encode_document(texts) == before.encode_document(texts)).all() and (model.encode_query(texts) != before.encode_query(texts)).any()
    history = [json.loads(o) for o in (run/'history.jsonl').read_text().splitlines()]
    assert history[0]['step'] == 0 and 'loss' in history[1] and max(o['dev'] for o in history) > history[0]['dev']
    assert 'encode_query' in (run/'final'/'README.md').read_text() and 'an index made with that one can stay' in (run/'final'/'README.md').read_text()

def test_search_and_encode_read_each_side_through_its_route(adapted, base, monkeypatch, tmp_path):
    monkeypatch.chdir(adapted)
    run = next(o for o in (adapted/'results').glob(f'{exp},*') if (o/'run.json').exists())
    gold = read_rows(adapted/'data'/'gold.jsonl')
    model, query = load_model(run/'final'), gold[0]['query']
    res = CliRunner().invoke(app, ['search', run.name, query, '--json'])
    assert res.exit_code == 0, res.output
    corpus = {o['_id']: o['text'] for o in map(json.loads, (adapted/'data'/'corpus.jsonl').read_text().splitlines())}
    cosines = unit_vectors(model.encode_query([query])) @ unit_vectors(load_model(base).encode_document([*corpus.values()])).T
    first = json.loads(res.stdout)[0]['systems']['tuned'][0]
    assert first['id'] == [*corpus][int(cosines[0].argmax())] and first['score'] == pytest.approx(float(cosines.max()), abs=1e-4)
    (tmp_path/'some.jsonl').write_text(json.dumps(dict(_id='a', text=query)) + '\n')
    for side,made in ((['--queries'], model.encode_query), ([], load_model(base).encode_document)):
        out = tmp_path/f'vectors{len(side)}'
        assert CliRunner().invoke(app, ['encode', run.name, str(tmp_path/'some.jsonl'), '--out', str(out), *side]).exit_code == 0
        assert np.load(out/'vectors.npy')[0] == pytest.approx(made([query])[0], abs=1e-5)
    per_query = [json.loads(o) for o in (run/'eval'/'per_query.jsonl').read_text().splitlines()]
    line = next(o for o in per_query if o['query'] == query)
    assert line['tuned']['hits'][0]['id'] == first['id'] and 'is up to date' in emb('run', exp, '-p', 'lr', .01, cwd=adapted).stdout

def test_a_transformer_that_normalises_keeps_unit_queries_and_its_prompt(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize
    plain = tiny_transformer(['reset my router', 'hold the button'])
    base = SentenceTransformer(modules=[*plain, Normalize()], device='cpu', prompts=dict(query='reset ', document=''))
    base.max_seq_length = 7
    matrix = np.eye(32, dtype='float32') + .3*np.random.default_rng(0).standard_normal((32, 32)).astype('float32')
    adapted_model(base, matrix).save_pretrained(str(tmp_path/'final'))
    again = load_model(tmp_path/'final')
    q, d = (encode_cached(again, ['my router'], k) for k in ('query', 'document'))
    assert unit_vectors(base.encode_query(['my router']) @ matrix.T) == pytest.approx(q, abs=1e-5) and (d == base.encode_document(['my router'])).all()
    assert np.linalg.norm(q) == pytest.approx(1, abs=1e-5) and again.prompts['query'] == 'reset ' and again.max_seq_length == 7
    assert encode_cached(AdaptedEncoder(base, matrix, tmp_path/'cache'), ['my router'], 'document') == pytest.approx(d, abs=1e-5)
    assert model_kind(tmp_path/'final') == 'encoder' and light_encoder(tmp_path/'final', 7) is None # numpy would leave the matrix out

def test_answers_and_what_was_decided_are_never_learnt_as_wrong():
    import torch
    pairs = [('a', 'one'), ('a', 'two'), ('b', 'two'), ('c', 'three')]
    train = to_dataset([dict(query=q, passage=p, label=1) for q,p in pairs] + [dict(query='a', passage='four', label=0)])
    splits = Splits(train, train, train, decisions={('c', 'four'): 'drop', ('b', 'one'): 'keep'})
    vectors = dict(a=[1., 0], b=[.9, .1], c=[0, 1.], one=[1., .1], two=[.8, .2], three=[.1, 1.], four=[.7, .3])
    made = query_lessons(splits, lambda texts, kind: np.array([vectors[t] for t in texts], 'float32'), 9)
    known = {(a, p) for a,_ in enumerate('abc') for p in range(4) if bool(made.is_known(torch.tensor(a), torch.tensor(p)))}
    assert known == {(0, 0), (0, 1), (1, 1), (2, 2), (2, 3)}
    whole = lesson_loss(made, torch.arange(4), torch.zeros(2, 2))
    swapped = query_lessons(splits, lambda texts, kind: np.array([vectors[dict(two='one', one='two').get(t, t)] for t in texts], 'float32'), 9)
    assert whole.isfinite() and whole != lesson_loss(swapped, torch.arange(4), torch.zeros(2, 2))
    with pytest.raises(LabError, match='no row has label 1'): query_lessons(Splits(to_dataset([dict(query='a', passage='b', label=0)]), train, train), None, 1)

def test_a_learning_rate_that_breaks_it_is_named(adapted, tmp_path):
    lab = shutil.copytree(adapted, tmp_path/'lab')
    res = emb('run', exp, '-p', 'lr', 1e25, cwd=lab, ok=1)
    assert 'lower `lr`' in res.stderr and 'Traceback' not in res.stderr

def test_a_merge_with_an_adapter_is_refused(adapted, tmp_path):
    lab = shutil.copytree(adapted, tmp_path/'lab')
    run = next(o for o in (lab/'results').glob(f'{exp},*') if (o/'run.json').exists())
    assert 'cannot be merged with the base model' in emb('merge', run.name, cwd=lab, ok=1).stderr
