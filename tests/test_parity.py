"`emb parity`: every planted fault is found and named, in every dialect of servers, and what cannot be told is exit 2"
import base64, json, shutil
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.models.base import load_model, tiny_transformer
from embed_lab.models.canary import canary_texts, stamp, write_canary
from embed_lab.models.portable import make_portable
from support import serving

words = [*canary_texts(96), 'query passage :']

def saved(model, folder):
    model.save_pretrained(str(folder), create_model_card=False)
    make_portable(folder, model.max_seq_length)
    return folder

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A base and a model tuned from it, with a canary"
    at = tmp_path_factory.mktemp('made')
    base, model = tiny_transformer(words), tiny_transformer(words)
    for o in base, model: o.max_seq_length, o.prompts = 96, dict(query='query: ', document='passage: ')
    for o in model[0].parameters(): o.data += .3*o.data.std()*o.data.new_tensor(np.random.default_rng(0).normal(size=o.shape)) if o.numel() > 1 else 0
    folder = saved(model, at/'tuned')
    write_canary(folder, model, saved(base, at/'base'))
    return at

def emb(*args):
    res = CliRunner().invoke(app, [str(o) for o in args])
    return res.exit_code, (res.stdout + res.stderr).strip()

def served(model, dialect='openai', change=lambda texts: texts, scale=1., limit=None):
    "What a server answers that has `model` and does something to texts or vectors"
    def vectors(texts): return np.asarray(model.encode(change(texts), prompt='', show_progress_bar=False), np.float32)*scale
    def packed(o): return base64.b64encode(o.tobytes()).decode() if dialect == 'base64' else o.tolist()
    route = dict(tei='/embed', infinity='/embeddings').get(dialect, '/v1/embeddings')
    def answer(path, body, head):
        if path != route: return 404, ''
        texts = body['inputs' if dialect == 'tei' else 'input']
        if limit and max(len(o.split()) for o in texts) > limit: return 413, dict(error=f'`inputs` must have less than {limit} tokens')
        vecs = vectors(texts)
        return 200, vecs.tolist() if dialect == 'tei' else dict(data=[dict(index=i, embedding=packed(vecs[i])) for i in reversed(range(len(vecs)))])
    return answer

def of_the_tuned(**kw): return lambda at: served(load_model(at/'tuned'), **kw)
def changed(f):
    def make(at):
        f(model := load_model(at/'tuned'))
        return served(model)
    return make

def pooled(mode): return changed(lambda o: setattr(o[1], 'pooling_mode', mode))
def without(o): return o.removeprefix('query: ').removeprefix('passage: ')
def no_normalize(model): del model._modules['2']

faults = {
    'pooling: vectors are of the first token': pooled('cls'),
    'pooling: vectors are of the last token': pooled('lasttoken'),
    "query: the prompt 'query: ' is missing": of_the_tuned(change=lambda texts: [o.removeprefix('query: ') for o in texts]),
    "passage: the prompt 'passage: ' comes twice": of_the_tuned(change=lambda texts: [o.replace('passage: ', 'passage: passage: ') if o.startswith('passage') else o for o in texts]),
    "query: the prompt is that of the other side, 'passage: '": of_the_tuned(change=lambda texts: ['passage: ' + without(o) for o in texts]),
    'normalisation: vectors have lengths': changed(no_normalize),
    'truncation: long texts are cut at 64 tokens, not at 96': changed(lambda o: setattr(o, 'max_seq_length', 64)),
    'truncation: long texts are refused': of_the_tuned(limit=90),
    'base: these are the vectors of the untuned base': lambda at: served(load_model(at/'base')),
    'another model: no known fault': lambda at: served(tiny_transformer(words, seed=7)),
    'its vectors have 16 dimensions, not 32': lambda at: served(tiny_transformer(words, dim=16)),
    'precision: cosines go down to': lambda at: noisy(at)}

def noisy(at):
    model, draw = load_model(at/'tuned'), np.random.default_rng(0)
    def answer(path, body, head):
        vecs = np.asarray(model.encode(body['input'], prompt=''))
        return (200, dict(data=[dict(index=i, embedding=(o + .01*draw.normal(size=o.shape)).tolist()) for i,o in enumerate(vecs)]))
    return answer

@pytest.mark.parametrize('named', faults)
def test_a_planted_fault_is_named_and_nothing_else(named, made):
    with serving(faults[named](made)) as url: code, said = emb('parity', made/'tuned', url)
    assert code == 1 and said.startswith('DIFFERENT') and named in said and len(said.splitlines()) == 2, said

def test_two_faults_at_once_are_both_named(made):
    def both(model):
        model[1].pooling_mode, model.max_seq_length = 'cls', 32
        no_normalize(model)
    with serving(changed(both)(made)) as url: code, said = emb('parity', made/'tuned', url, '--json')
    assert code == 1 and [o['kind'] for o in json.loads(said)['faults']] == ['pooling', 'truncation', 'normalisation']

@pytest.mark.parametrize('dialect', ['openai', 'base64', 'tei', 'infinity'])
def test_the_same_model_is_the_same_in_every_dialect(dialect, made):
    with serving(served(load_model(made/'tuned'), dialect)) as url: code, said = emb('parity', made/'tuned', url, '--json')
    found = json.loads(said)
    assert code == 0 and found['verdict'] == 'SAME' and found['stamp'] == stamp(made/'tuned') and min(found['cosine'].values()) > .99999

def test_half_precision_is_the_same(made):
    model = load_model(made/'tuned').bfloat16()
    with serving(lambda path, body, head: (200, dict(data=[dict(index=i, embedding=o.float().tolist()) for i,o in enumerate(model.encode(body['input'], prompt='', convert_to_tensor=True))]))) as url:
        code, said = emb('parity', made/'tuned', url)
    assert code == 0, said

def test_a_model_that_bf16_moves_far_is_the_same_at_bf16(made, tmp_path):
    "What is far is measured by the model itself; a fault that moves vectors farther is still named"
    folder = shutil.copytree(made/'tuned', tmp_path/'tuned')
    file = folder/'canary.json'
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(tolerance=.9999999)))
    model = load_model(made/'tuned').bfloat16()
    def answers(texts): return model.encode(texts, prompt='', convert_to_tensor=True).float()
    def served_at(change): return serving(lambda path, body, head: (200, dict(data=[dict(index=i, embedding=o.tolist()) for i,o in enumerate(answers(change(body['input'])))])))
    with served_at(list) as url:
        code, said = emb('parity', folder, url)
        found = json.loads(emb('parity', folder, url, '--json')[1])
    assert code == 0 and said.startswith('SAME at bf16') and found['at'] == 'bf16' and min(found['cosine'].values()) < .9999999
    with served_at(lambda texts: [without(o) for o in texts]) as url: assert emb('parity', folder, url)[0] == 1
    with serving(served(load_model(made/'tuned'))) as url: assert json.loads(emb('parity', folder, url, '--json')[1])['at'] == ''

def test_a_server_that_puts_the_prompts_itself_is_asked_without(made):
    def both(texts): return ['query: ' + o for o in texts] # it cannot know passages
    with serving(served(load_model(made/'tuned'), change=both)) as url:
        code, said = emb('parity', made/'tuned', url, '--bare')
    assert code == 1 and said.splitlines()[1:] == ["  prompt: passage: the prompt is that of the other side, 'query: '"]

def test_a_folder_is_compared_with_a_folder(made, tmp_path):
    copy = shutil.copytree(made/'tuned', tmp_path/'copy')
    assert emb('parity', made/'tuned', copy)[0] == 0
    (copy/'1_Pooling'/'config.json').write_text((copy/'1_Pooling'/'config.json').read_text().replace('"mean"', '"cls"'))
    code, said = emb('parity', made/'tuned', copy)
    assert code == 1 and 'pooling: vectors are of the first token' in said
    code, said = emb('parity', copy, made/'tuned')
    assert code == 2 and 'has changed since canary.json was made' in said

def test_a_folder_without_a_canary_gets_one(made):
    code, said = emb('parity', made/'base', made/'base')
    assert code == 0 and not (made/'base'/'canary.json').exists()

@pytest.mark.parametrize('text,why', [('{}', 'is not a canary'), ('not JSON', 'is not a canary'), (None, 'not a whole canary')])
def test_a_broken_canary_cannot_answer(text, why, made, tmp_path):
    copy = shutil.copytree(made/'tuned', tmp_path/'copy')
    whole = json.loads((copy/'canary.json').read_text())
    (copy/'canary.json').write_text(text or json.dumps(whole | dict(dimension=31)))
    code, said = emb('parity', copy, 'http://127.0.0.1:9')
    assert code == 2 and why in said and '\n' not in said

def test_what_cannot_be_told_is_exit_2(made):
    with serving(lambda *_: (200, '<html>')) as url: pages = emb('parity', made/'tuned', url)
    for code,said in (pages, emb('parity', made/'tuned', url), emb('parity', made/'tuned', 'nowhere'), emb('parity', made/'tuned', url, '--gold'), emb('parity', 'nowhere', url)):
        assert code == 2 and said.startswith('emb: ') and '\n' not in said, said

def test_gold_through_a_server_beside_the_recorded_score(lab):
    from support import emb as run_emb, exp
    run_emb('run', exp, cwd=lab)
    final, looks = lab/'results'/exp/'final', lab/'results'/'gold_log.jsonl'
    before = len(looks.read_text().splitlines())
    with serving(served(load_model(final))) as url:
        found = [json.loads(run_emb('parity', exp, url, '--gold', '--json', cwd=lab).stdout)['gold'] for _ in range(2)]
        gold = lab/'data'/'gold.jsonl'
        gold.write_text(''.join(gold.read_text().splitlines(True)[:-1]))
        changed = run_emb('parity', exp, url, '--gold', cwd=lab, ok=2).stderr
    recorded = json.loads((lab/'results'/exp/'eval'/'gold_metrics.json').read_text())['systems']['tuned']['ndcg@10']['mean']
    assert found[0] == found[1] and found[0]['recorded'] == recorded and abs(found[0]['served'] - recorded) < 1e-3
    assert len(looks.read_text().splitlines()) == before + 1 and 'what exp_02_in_batch was judged on' in changed
