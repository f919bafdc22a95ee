"Recipes with a second model: a cross-encoder behind a search, and a teacher behind a student"
import json, shutil
import pytest
from support import emb, manifest, papermill

things = dict(router='wifi', headset='earphones', light='lamp', kettle='boiler', camera='picture', thermostat='heat', doorbell='ding')
deeds = 'reset pair clean repair open charge mount unlock move sell lend paint lift drop buy store carry hide sort test name wrap cut heat'.split()
rerank = 'exp_08_rerank', '-p', 'negatives', 6, '-p', 'epochs', 8, '-p', 'lr', .003, '-p', 'max_length', 16, '-p', 'top', 7
behind = 'exp_08_rerank,epochs=8,lr=0.003,max_length=16,negatives=6,reranker=bert,top=7'

def metrics(run, file='gold_metrics'): return json.loads((run/'eval'/f'{file}.json').read_text())
def mean(run, system): return metrics(run)['systems'][system]['ndcg@10']['mean']
def lines(run): return [json.loads(o) for o in (run/'eval'/'per_query.jsonl').read_text().splitlines()]

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "A lab whose base model is made of words, with a little transformer beside it, and a finished rerank run"
    import numpy as np
    from embed_lab.models.base import tiny_model, tiny_transformer
    from embed_lab.data.files import write_rows
    home = tmp_path_factory.mktemp('teachers')
    rows = [dict(query=f'{d} my {said}', passage=f'{d} {t}', label=1) for d in deeds for t,said in things.items()]
    np.random.default_rng(0).shuffle(rows)
    for k,some in dict(train=rows[:112], dev=rows[112:140], gold=rows[140:], guard=rows[112:120]).items(): write_rows(home/'data'/f'{k}.jsonl', some)
    write_rows(home/'data'/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(dict.fromkeys(o['passage'] for o in rows[140:]))]) # few enough for seven hits to hold the answer
    lab = home/'lab'
    emb('init', lab, '--data', home/'data', '--recipe', 'rerank', '--recipe', 'distil', cwd=home)
    texts = [t for o in rows for t in (o['query'], o['passage'])]
    tiny_model(texts).save_pretrained(str(lab/'words'))
    tiny_transformer(texts).save_pretrained(str(lab/'bert'))
    (lab/'settings.ini').write_text((lab/'settings.ini').read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', 'model = words').replace('corpus = open', 'corpus = fixed'))
    emb('run', *rerank, '-p', 'reranker', 'bert', cwd=lab)
    assert behind in [o.name for o in (lab/'results').iterdir()], [o.name for o in (lab/'results').iterdir()]
    return lab

@pytest.fixture
def lab(made, tmp_path): return shutil.copytree(made, tmp_path/'lab')

def test_two_stages_are_what_is_scored_shown_and_compared(made):
    run = made/'results'/behind
    m, stages = manifest(run), manifest(run)['stages']['two stages']
    assert m['status'] == 'completed' and m['loss'] == 'BinaryCrossEntropyLoss' and m['hardware']['precision'] == 'fp32' and m['hardware']['threads'] > 0
    assert m['stages']['first stage']['name'] == 'the base model' and m['stages']['second stage']['start'] == 'bert'
    assert stages['ms_a_query'] > 0 and stages['gain']['low'] > 0 and stages['best'] == 1
    assert stages['gain']['mean'] == pytest.approx(mean(run, 'tuned') - mean(run, 'base')) == m['headline']['gain']['mean']
    assert [*metrics(run)['systems']] == ['tuned', 'base', 'bm25', 'fused', 'oracle'] and [*metrics(run, 'guard_metrics')['systems']] == ['tuned', 'base']
    for o in lines(run): # the first seven changed places, and nothing else came in
        (both, search) = ([h['id'] for h in o[s]['hits']] for s in ('tuned', 'base'))
        assert sorted(both[:7]) == sorted(search[:7]) and both[7:] == search[7:]
    assert any(o['tuned']['hits'][0] != o['base']['hits'][0] for o in lines(run))
    assert json.loads(emb('ls', '--json', cwd=made).stdout)[run.name]['headline']['tuned']['mean'] == pytest.approx(mean(run, 'tuned'))
    assert 'exp_08_rerank' in (said := emb('compare', run.name, cwd=made).stdout) and 'BM25' in said

def test_the_model_is_a_cross_encoder_and_its_card_tells_of_two_stages_and_of_no_row(made):
    from sentence_transformers import CrossEncoder
    run = made/'results'/behind
    card = (run/'final'/'README.md').read_text()
    assert 'are of two stages together' in card and 'Intended use' in card and 'the first 7 hits of `the base model`' in card
    assert not any(o['query'] in card for o in map(json.loads, (made/'data'/'train.jsonl').read_text().splitlines()))
    assert (run/'final'/'model.safetensors').exists() and not [*run.rglob('final/*.bin')]
    model = CrossEncoder(str(run/'final'), device='cpu', local_files_only=True)
    right, wrong = model.predict([('reset my wifi', 'reset router'), ('reset my wifi', 'reset light')])
    assert model.num_labels == 1 and right > wrong

def test_dev_chose_the_checkpoint(made):
    run = made/'results'/behind
    history = [json.loads(o) for o in (run/'history.jsonl').read_text().splitlines()]
    looks = {o['step']: o['dev'] for o in history if 'dev' in o}
    best = max((o for o in looks if o), key=lambda o: (looks[o], -o))
    state = json.loads((max((run/'checkpoints').glob('checkpoint-*'), key=lambda o: int(o.name.split('-')[1]))/'trainer_state.json').read_text())
    assert len(looks) == 4 and state['best_model_checkpoint'].endswith(f'checkpoint-{best}') and looks[best] > looks[0]
    saved = (run/'final'/'model.safetensors').read_bytes()
    assert saved == (run/'checkpoints'/f'checkpoint-{best}'/'model.safetensors').read_bytes()

def test_a_reranker_that_was_cut_short_goes_on_to_the_same_weights(made, lab):
    run = lab/'results'/behind
    old = manifest(run)
    (run/'run.json').write_text(json.dumps({k: v for k,v in old.items() if k not in ('headline', 'outcome', 'end')} | dict(status='running', process=old['process'] | dict(born=0))))
    for o in ('final', 'eval', 'plots'): shutil.rmtree(run/o)
    last = max((run/'checkpoints').glob('checkpoint-*'), key=lambda o: int(o.name.split('-')[1]))
    shutil.rmtree(last)
    out = emb('run', *rerank, '-p', 'reranker', 'bert', cwd=lab).stdout
    assert 'was resumed from checkpoint-' in out and manifest(run)['outcome'] == manifest(made/'results'/behind)['outcome']

def test_without_a_teacher_there_is_one_line(made):
    res = emb('run', 'exp_07_distil', cwd=made, ok=1)
    assert 'distil needs a teacher: set `teacher`' in res.stderr and 'Traceback' not in res.stderr

def test_a_cross_encoder_teaches_a_table_of_words(made):
    args = 'exp_07_distil', '-p', 'teacher', f'results/{behind}/final', '-p', 'epochs', 20, '-p', 'lr', .1, '-p', 'candidates', 6
    emb('run', *args, cwd=made)
    run = next(o for o in (made/'results').glob('exp_07_distil,*') if 'loss=' not in o.name and (o/'run.json').exists())
    m = manifest(run)
    assert m['status'] == 'completed' and m['loss'] == 'DistillKLDivLoss' and m['stages']['teacher']['kind'] == 'cross-encoder'
    assert m['stages']['teacher']['weights'] == manifest(made/'results'/behind)['outcome']['weights']
    assert [*metrics(run)['systems']] == ['tuned', 'base', 'teacher', 'bm25', 'fused', 'oracle']
    assert metrics(run)['gain']['ndcg@10']['low'] > 0 and mean(run, 'teacher') not in (mean(run, 'tuned'), mean(run, 'base'))
    card = (run/'final'/'README.md').read_text()
    assert not any(o['query'] in card for o in map(json.loads, (made/'data'/'train.jsonl').read_text().splitlines()))
    assert 'teacher' in emb('compare', run.name, behind, cwd=made, ok=None).stdout

def test_an_encoder_teaches_the_first_layer_of_a_transformer_under_papermill(lab):
    from embed_lab.models.base import load_model
    run = lab/'results'/'exp_07_distil'
    args = '-p', 'model', 'bert', '-p', 'teacher', 'words', '-p', 'layers', 1, '-p', 'loss', 'margin-mse', '-p', 'max_length', 32, '-p', 'lr', .001
    papermill('experiments/exp_07_distil.ipynb', run/'exp_07_distil.ipynb', *args, cwd=lab)
    m, student = manifest(run), load_model(run/'final')
    assert m['status'] == 'completed' and m['loss'] == 'MarginMSELoss' and m['stages']['teacher']['kind'] == 'static'
    assert student.transformers_model.config.num_hidden_layers == 1 and student.max_seq_length == 32
    teacher, base = (manifest(lab/'results'/behind)['headline']['base']['mean'], mean(run, 'base'))
    assert mean(run, 'teacher') == pytest.approx(teacher) and base != teacher
