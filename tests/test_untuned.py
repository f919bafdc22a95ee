"Gold alone makes a lab that judges models: the base model is scored there, and nothing that trains begins"
import json, shutil
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.check import check_folder
from embed_lab.data.folder import check_data
from embed_lab.data.reading import read_rows
from embed_lab.data.task import require_splits
from embed_lab.evaluation.browse import pair_hits
from embed_lab.evaluation.compare import compare
from embed_lab.inventory.datasets import load_splits
from embed_lab.inventory.preprocess import add_prompts, balance_labels, drop_conflicts, drop_duplicates, drop_leaks
from embed_lab.lab import LabError, read_lab
from embed_lab.labs.choose import choose_recipes
from embed_lab.labs.recipes import find_recipe
from embed_lab.labs.scaffold import init_lab, new_experiment
from embed_lab.runs.execute import plan
from embed_lab.runs.results import read_run
from support import emb, made_lab

exp = 'exp_09_untuned'

def beir(folder, gold):
    "A test split alone, as BEIR has it"
    docs = {t: f'd{i}' for i,t in enumerate(dict.fromkeys(o['passage'] for o in gold))}
    queries = {t: f'q{i}' for i,t in enumerate(dict.fromkeys(o['query'] for o in gold))}
    (folder/'qrels').mkdir(parents=True)
    for name,texts in dict(corpus=docs, queries=queries).items():
        (folder/f'{name}.jsonl').write_text(''.join(json.dumps(dict(_id=i, text=t)) + '\n' for t,i in texts.items()))
    judged = [f"{queries[o['query']]}\t{docs[o['passage']]}\t1\n" for o in gold if o['label']]
    (folder/'qrels'/'test.tsv').write_text('query-id\tcorpus-id\tscore\n' + ''.join(judged))
    return folder

@pytest.fixture(scope='module')
def judging(tmp_path_factory, data, base):
    "A lab made of a test split, with a completed run"
    home = tmp_path_factory.mktemp('judging')
    assert 'emb run exp_09_untuned' in emb('init', 'lab', '--data', beir(home/'beir', read_rows(data/'gold.jsonl')), cwd=home).stdout
    ini = home/'lab'/'settings.ini'
    ini.write_text(ini.read_text().replace('model = sentence-transformers/all-MiniLM-L6-v2', f'model = {base}'))
    emb('run', exp, cwd=home/'lab')
    return read_lab(home/'lab')

def test_a_lab_of_gold_alone_begins_with_what_can_run_there(judging):
    assert [o.stem for o in judging.experiments.iterdir()] == [exp]
    assert sorted(o.name for o in judging.data.iterdir()) == ['corpus.jsonl', 'gold.jsonl', 'qrels.tsv']
    assert all('exp_02' not in (judging.path/o).read_text() and 'epochs' not in (judging.path/o).read_text() for o in ('README.md', 'AGENTS.md'))
    again = init_lab(judging.path)
    assert not again.created and [o.stem for o in judging.experiments.iterdir()] == [exp]
    assert [o.recipe.name for o in choose_recipes(judging.data).fits if o.fits] == ['bake-off', 'untuned']
    note, = [o for o in check_folder(judging.path).findings if o.rule == 'missing']
    assert note.level == 'note' and 'this data can evaluate models, not train them' in note.says and check_folder(judging.path).clean

def test_the_base_model_is_scored_beside_bm25_and_the_run_says_so(judging):
    run, path = read_run(judging.results/exp), judging.results/exp
    assert run['status'] == 'completed' and [*run['headline']] == ['base', 'bm25', 'fused_base'] and run['outcome']['weights'] is None
    assert {*run['inputs']['data']} == {'corpus.jsonl', 'gold.jsonl', 'qrels.tsv'} and run['hardware']['precision'] == 'fp32'
    said = json.loads((path/'eval'/'gold_metrics.json').read_text())
    assert [*said['systems']] == ['base', 'bm25', 'fused_base', 'oracle'] and 'gain' not in said and said['systems']['oracle']['ndcg@10']['mean'] == 1
    assert all(o['gain'] is None and 'base' in o['means'] for o in json.loads((path/'eval'/'slices.json').read_text())['slices'])
    assert (path/'plots'/'gold_metrics.html').exists() and not (path/'final').exists()
    shown = ''.join(''.join(o.get('data', {}).get('text/html', '')) for c in json.loads((path/f'{exp}.ipynb').read_text())['cells'] for o in c.get('outputs', ()))
    assert 'the untuned base is' in shown and 'nothing was trained' in shown and 'tuned with BM25' not in shown and 'gain of' not in shown

def test_lists_say_untuned_and_one_alone_is_not_compared(judging, monkeypatch):
    monkeypatch.chdir(judging.path)
    line = CliRunner().invoke(app, ['ls']).stdout.splitlines()[1].split()
    assert line[:3] == [exp, 'completed', 'untuned'] and len(line) == 7 # base, BM25, minutes and MB, and no gain
    with pytest.raises(LabError, match='exp_09_untuned is an untuned model; name another run'): compare(judging, [exp])
    res = CliRunner().invoke(app, ['encode', exp, 'data/corpus.jsonl', '--out', 'vectors'])
    assert res.exit_code == 2 and 'exp_09_untuned left no model' in res.stderr

@pytest.mark.parametrize('recipe', ['in-batch', 'pairwise', 'static', 'rerank'])
def test_what_trains_is_refused_before_a_kernel_starts_with_what_can_run(judging, tmp_path, recipe):
    lab = read_lab(shutil.copytree(judging.path, tmp_path/'lab'))
    new_experiment(lab, 'exp_10_mine', find_recipe(recipe))
    with pytest.raises(LabError, match=r'gold\.jsonl alone, .* this experiment trains one; recipe `untuned` trains nothing .*, or add train\.jsonl and dev\.jsonl') as e: plan(lab, 'exp_10_mine', {})
    assert '\n' not in str(e.value) and not (lab.results/'exp_10_mine'/'run.json').exists()

def test_a_copy_of_a_copy_still_trains_nothing(judging, tmp_path):
    lab = read_lab(shutil.copytree(judging.path, tmp_path/'lab'))
    for name,source in dict(exp_10=find_recipe('untuned'), exp_11=lab.experiments/f'{exp}.ipynb').items():
        new_experiment(lab, name, source)
        assert not plan(lab, name, {}).done

def test_gold_with_one_of_the_others_is_still_incomplete(judging, tmp_path):
    for o in ('train', 'dev'):
        folder = shutil.copytree(judging.path, tmp_path/o)/'data'
        shutil.copy(folder/'gold.jsonl', folder/f'{o}.jsonl')
        lacking, = {'train', 'dev'} - {o}
        finding, = [x for x in check_folder(folder).findings if x.rule == 'missing']
        assert finding.level == 'fail' and f'no {lacking}.jsonl' in finding.says
        with pytest.raises(LabError, match=f'{lacking}.jsonl: no such file'): require_splits(folder)
        assert check_data(folder, train=False) == []

def test_it_is_compared_with_what_was_trained_and_train_does_not_matter_to_it(whole, tmp_path):
    lab = read_lab(shutil.copytree(whole, tmp_path/'lab'))
    new_experiment(lab, exp, find_recipe('untuned'))
    (lab.data/'decisions.jsonl').write_text('not read\n')
    (lab.data/'dev.jsonl').rename(tmp_path/'dev.jsonl')
    emb('run', exp, cwd=lab.path)
    trained, = [o.name for o in lab.results.glob('exp_02*') if (o/'run.json').exists()]
    res = compare(lab, [exp, trained])
    a, b = res.recipes
    assert (a.fixed, b.fixed) == (True, False) and (a.scores['tuned']['ndcg@10'] == b.scores['base']['ndcg@10']).all()
    assert res.pairs[0].verdict.seeds == (0, 1) and res.pairs[0].verdict.word == 'unmeasured' and 'one seed of theirs' in res.pairs[0].verdict.warning
    alone = compare(lab, [trained]).pairs[0].verdict
    assert res.pairs[0].verdict.effect == pytest.approx(-alone.effect) and res.pairs[0].verdict.p == pytest.approx(alone.p)
    assert ['' for _ in a.runs] == [o['seeds'] for o in res.score_table() if o[''] == 'a'] and 'base with BM25' in str(res.score_table())
    before, after = pair_hits(res, res.pairs[0])
    assert before[0].keys() == after[0].keys()
    (tmp_path/'dev.jsonl').rename(lab.data/'dev.jsonl')
    assert plan(lab, exp, {}).done

def test_a_teams_preprocess_leaves_what_is_empty(judging):
    splits = load_splits(judging.data, train=False)
    for step in (drop_duplicates, lambda o: drop_leaks(o, 'open'), drop_conflicts, balance_labels): assert step(splits).sets.keys() == {'gold'}
    assert all(o.startswith('query: ') for o in add_prompts(splits).gold['query']) and repr(splits).startswith('Splits: gold ')

def test_a_model_that_cannot_read_gold_is_refused_before_anything_is_written(judging, base, tmp_path):
    broken = shutil.copytree(base, tmp_path/'broken')
    for o in broken.rglob('tokenizer.json'): o.unlink()
    res = emb('run', exp, '-p', 'model', broken, cwd=judging.path, ok=2)
    assert '100 % of the tokens of gold are unknown' in res.stderr and 'copy the model again' in res.stderr and res.stderr.count('emb: ') == 1
    assert not list(judging.results.glob(f'{exp},*/eval/gold_metrics.json'))
