"Recipes with a second model: a cross-encoder behind a search, and a teacher behind a student"
import json, shutil
import pytest
from support import emb, keep_checkpoints, manifest, papermill

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
    emb('run', *rerank, '-p', 'reranker', 'bert', cwd=keep_checkpoints(lab))
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

def test_asked_again_both_stages_find_what_they_found(made):
    from embed_lab.evaluation.ask import open_searcher
    from embed_lab.lab import read_lab
    known = lines(made/'results'/behind)[:5]
    searcher = open_searcher(read_lab(made), behind)
    for o,found in zip(known, searcher.search([o['query'] for o in known])):
        for s in ('tuned', 'base', 'bm25'): assert [d for d,_ in found.hits[s]][:10] == [h['id'] for h in o[s]['hits']], s
    assert not searcher.said

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

def test_without_a_teacher_or_scores_there_is_one_line_before_a_kernel_starts(made):
    res = emb('run', 'exp_07_distil', cwd=made, ok=2)
    assert res.stderr.startswith('emb: exp_07_distil: no `teacher` is named, and no relevant row of train brings `teacher_scores`') and res.stderr.count('\n') == 1
    assert '`-p teacher`' in res.stderr and "FlagEmbedding's pos_scores and neg_scores (`emb import`)" in res.stderr
    assert not (made/'results'/'exp_07_distil'/'run.json').exists()
    said = emb('recipes', '--for', 'data', cwd=made).stdout
    assert 'needs a `teacher` to ask, because no relevant row of train brings `teacher_scores`' in ' '.join(said.split())

odd_rows = dict(none=[{}], scores_alone=[dict(teacher_scores=[7])], nothing_to_compare=[dict(negatives=['a'], teacher_scores=[7, 1])], wrong=[dict(label=0, negatives=['b'], teacher_scores=[1, 7])], null=[dict(negatives=['b'], teacher_scores=None), dict(negatives=None, teacher_scores=[1])],
    one=[dict(negatives=['b'], teacher_scores=[7, 1]), {}], with_a_blank=[dict(negatives=['a', 'b'], teacher_scores=[7, 3, 1])])

@pytest.mark.parametrize('kind', odd_rows)
def test_whether_a_run_can_be_taught_is_judged_alike_before_it_and_in_it(kind, tmp_path):
    from embed_lab.data.files import write_rows
    from embed_lab.data.folder import can_teach, folder_scan
    from embed_lab.data.reading import scan_blocks
    from embed_lab.inventory.datasets import Splits, to_dataset
    from embed_lab.inventory.distil import given_scores
    from embed_lab.labs.choose import facts_of
    from embed_lab.lab import LabError
    from embed_lab.runs.record import rehearsal
    rows = [dict(query='q', passage='a', label=1) | o for o in odd_rows[kind]]
    write_rows(tmp_path/'train.jsonl', rows)
    counted = sum(can_teach(o) for b in scan_blocks(folder_scan(tmp_path/'train.jsonl')) for o in b.rows)
    train, expected = to_dataset(rows), {'one': 1, 'with_a_blank': 1}.get(kind, 0)
    assert counted == facts_of(dict(train=rows)).taught == expected
    try: taught = given_scores(Splits(train, train, train), rehearsal('base'))
    except LabError as e: assert not expected and 'distil needs a teacher' in str(e) and '\n' not in str(e)
    else: assert expected and taught.to_list() == [dict(query='q', passage='a', negative_1='b', label=[7, 1])]

@pytest.mark.parametrize('scores, wanted', [([.9, -.2], [18, -4]), ([1., 0.], [20, 0]), ([1.0004, .5], [20.008, 10]), ([1.5, .2], [1.5, .2]), ([9., -9.], [9, -9])])
def test_cosines_and_probabilities_are_taken_at_the_students_scale(scores, wanted):
    import warnings
    from embed_lab.inventory.datasets import Splits, to_dataset
    from embed_lab.inventory.distil import given_scores
    from embed_lab.runs.record import rehearsal
    train, run = to_dataset([dict(query='q', passage='a', label=1, negatives=['b'], teacher_scores=scores)]), rehearsal('base')
    with warnings.catch_warnings(record=True):
        warnings.simplefilter('always')
        assert given_scores(Splits(train, train, train), run)['label'][0] == pytest.approx(wanted)
    said = run.manifest.get('warnings', [])
    assert [o for o in said if o.endswith('as cosines and probabilities do: they are taken times 20')] == said and bool(said) == (wanted != scores)

def test_other_recipes_name_the_one_that_is_taught():
    from embed_lab.inventory.datasets import to_dataset
    from embed_lab.inventory.train import training_rows
    from embed_lab.lab import LabError
    train = to_dataset([dict(query='q', passage='a', label=1, negatives=['b'], teacher_scores=[7, 1])])
    with pytest.raises(LabError, match="margin-mse learns from a teacher's scores: use recipe `distil`, which reads them from train or asks a teacher"): training_rows(train, 'margin-mse')

def flag_embedding(path, rows, score, neighbours=4):
    "Rows as FlagEmbedding keeps them, each with the passages of some others as negatives"
    def record(i, o):
        others = [p['passage'] for p in rows[i+1:i+9] + rows[:8] if p['passage'].split()[1] != o['passage'].split()[1]][:neighbours]
        return dict(query=o['query'], pos=[o['passage']], neg=others, pos_scores=[score(o['passage'], o)], neg_scores=[score(p, o) for p in others], prompt='', type='normal')
    path.write_text(''.join(json.dumps(record(i, o)) + '\n' for i,o in enumerate(rows)))

def test_scores_that_come_with_the_data_are_learnt_from(made, tmp_path):
    "A file of FlagEmbedding is imported, and distil learns what its scores say, right or wrong, with nobody to ask"
    from embed_lab.data.files import write_rows
    from embed_lab.data.reading import read_rows
    def right(p, o): return 6.5 if p == o['passage'] else 2 if p.split()[0] == o['query'].split()[0] else -7
    source = tmp_path/'flag'
    source.mkdir()
    for k,name in dict(train='train', dev='dev', gold='test').items(): flag_embedding(source/f'{name}.jsonl', read_rows(made/'data'/f'{k}.jsonl'), right)
    said = emb('import', source, '--to', 'scored', cwd=tmp_path).stdout
    assert 'teacher_scores from `pos_scores`, `neg_scores`, which recipe `distil` learns from' in said
    emb('init', 'lab', '--data', 'scored', '--recipe', 'distil', cwd=tmp_path)
    lab = tmp_path/'lab'
    shutil.copytree(made/'words', lab/'words')
    (lab/'settings.ini').write_text((made/'settings.ini').read_text())
    args = 'exp_07_distil', '-p', 'epochs', 12, '-p', 'lr', .1, '-p', 'candidates', 3
    rows, found = read_rows(lab/'data'/'train.jsonl'), []
    for sign in (1, -1):
        write_rows(lab/'data'/'train.jsonl', [o | dict(teacher_scores=[sign*s for s in o['teacher_scores']]) for o in rows])
        emb('run', *args, cwd=lab)
        run = next(o for o in (lab/'results').glob('exp_07_distil,*') if (o/'run.json').exists() and 'replaced' not in o.name)
        m = manifest(run)
        assert m['status'] == 'completed' and m['stages']['teacher'] == dict(name='teacher_scores', kind='scores', rows=112, unscored=0, negatives=3, times=1.0)
        assert [*metrics(run)['systems']] == ['tuned', 'base', 'bm25', 'fused', 'oracle'] # no row of a teacher
        found.append((m['outcome']['weights'], mean(run, 'tuned'), json.loads((run/'eval'/'gold_metrics.json').read_text())['gain']['ndcg@10']))
    (good, high, gain), (bad, low, _) = found
    assert good != bad and gain['low'] > 0 and high > low

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
