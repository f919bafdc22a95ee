"`emb parity` of re-rankers: what is served is compared with what was judged, and what is wrong is named"
import json, shutil
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.models.base import tiny_transformer
from embed_lab.models.canary import canary_file, canary_texts
from embed_lab.models.crossencoders import load_cross_encoder
from embed_lab.models.pair_canary import long_pairs, pair_canary, plain_scores, write_pair_canary
from support import serving

def squashed(x): return 1/(1 + np.exp(-x))

def saved(model, folder, base=None):
    model.save_pretrained(str(folder), create_model_card=False)
    write_pair_canary(folder, model, base)
    return folder

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A re-ranker as a base, and one tuned from it"
    at = tmp_path_factory.mktemp('made')
    tiny_transformer([*canary_texts(96)]).save_pretrained(str(at/'bert'))
    base, model = (load_cross_encoder(at/'bert', max_seq_length=96, seed=o) for o in (0, 1))
    saved(model, at/'tuned', saved(base, at/'base'))
    return at

def emb(*args):
    res = CliRunner().invoke(app, ['parity', *map(str, args)])
    return res.exit_code, (res.stdout + res.stderr).strip()

def tei(score): # text-embeddings-inference
    def answer(path, body, head):
        if path != '/rerank' or 'texts' not in body: return 422, dict(error='missing field `texts`')
        return 200, [dict(index=0, score=float(score(body['query'], body['texts'][0])))]
    return answer

def services(score): # infinity, vLLM, and what they imitate
    def answer(path, body, head):
        if path != '/v1/rerank': return 404, dict(detail='Not Found')
        return 200, dict(results=[dict(index=0, relevance_score=float(score(body['query'], body['documents'][0])))])
    return answer

def scoring(model, length=None):
    if length: model.max_seq_length = length
    return lambda q, p: plain_scores(model, [(q, p)])[0]

@pytest.mark.parametrize('dialect', [tei, services])
def test_the_same_is_the_same_in_each_dialect_and_through_a_sigmoid(made, dialect):
    score = scoring(load_cross_encoder(made/'tuned'))
    with serving(dialect(score)) as url: code, said = emb(made/'tuned', url)
    assert code == 0 and said.startswith('SAME') and 'sigmoid' not in said
    with serving(dialect(lambda q, p: squashed(score(q, p)))) as url: code, said = emb(made/'tuned', url)
    assert code == 0 and 'through a sigmoid: their order is the same' in said

faults = {'order': lambda at: (lambda score: lambda q, p: score(p, q))(scoring(load_cross_encoder(at/'tuned'))),
    'truncation': lambda at: scoring(load_cross_encoder(at/'tuned'), 64), 'base': lambda at: scoring(load_cross_encoder(at/'base')),
    'another model': lambda at: scoring(load_cross_encoder(at/'bert', max_seq_length=96, seed=7)),
    'precision': lambda at: (lambda score, far: lambda q, p: score(q, p) + far*np.sin(len(q) + 2*len(p)))(scoring(load_cross_encoder(at/'tuned')), 5*pair_canary(at/'tuned').tolerance)}

@pytest.mark.parametrize('through', [lambda x: x, squashed], ids=['logits', 'sigmoid'])
@pytest.mark.parametrize('kind', faults)
def test_a_planted_fault_is_named(made, kind, through):
    score = faults[kind](made)
    with serving(tei(lambda q, p: through(score(q, p)))) as url: code, said = emb(made/'tuned', url, '--json')
    said = json.loads(said)
    assert code == 1 and said['verdict'] == 'DIFFERENT' and [o['kind'] for o in said['faults']] == [kind], said
    if kind == 'truncation': assert 'at 64 tokens, not at 96' in said['faults'][0]['text']

def test_folders_are_compared_and_a_changed_one_is_refused(made, tmp_path):
    assert emb(made/'tuned', made/'tuned')[0] == 0
    assert 'base' in emb(made/'tuned', made/'base')[1]
    folder = shutil.copytree(made/'tuned', tmp_path/'mine')
    (folder/'tokenizer.json').write_text((folder/'tokenizer.json').read_text() + ' ')
    code, said = emb(folder, made/'tuned')
    assert code == 2 and 'has changed since canary.json was made' in said
    (folder/canary_file).write_text('{"stamp": 1}')
    code, said = emb(folder, made/'tuned')
    assert code == 2 and "is not a re-ranker's canary" in said and said.count('\n') == 0
    (folder/canary_file).unlink()
    assert emb(folder, made/'tuned')[0] == 0

@pytest.mark.parametrize('answer, wanted', [((200, '<html>'), 'no score in the answer'), ((200, []), 'no score in the answer'), ((200, [dict(score='NaN')]), 'no score in the answer'), ((404, ''), 'no re-ranker answers there'), ((401, dict(error='who are you')), 'who are you')])
def test_what_cannot_be_told_is_one_line_and_exit_2(made, answer, wanted):
    with serving(lambda *_: answer) as url: code, said = emb(made/'tuned', url)
    assert code == 2 and wanted in said and said.count('\n') == 0, said

def test_options_of_encoders_are_refused(made):
    with serving(tei(lambda q, p: 0.)) as url: code, said = emb(made/'tuned', url, '--gold')
    assert code == 2 and '--bare and --gold are about encoders' in said

def test_the_long_pairs_are_the_long_ones(made):
    canary, model = pair_canary(made/'tuned'), load_cross_encoder(made/'tuned')
    def tokens(o): return len(model.tokenizer(*o)['input_ids'])
    lengths = [*map(tokens, canary.pairs)]
    assert min(lengths[-long_pairs:]) > 96 > max(lengths[:-long_pairs]) and len({round(o, 6) for o in canary.scores}) == 16
