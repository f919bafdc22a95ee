"Recipes are compared by what runs left on disk, and what cannot be compared is refused by name"
import json, shutil, sys
from concurrent.futures import ProcessPoolExecutor
import numpy as np, pytest
from support import emb, exp, sh, whole_run_path as name

rng = np.random.default_rng(0)
ease = rng.normal(0, 1.8, 300)

def scores(gain=0., luck=.1, noise=.2):
    ranks = np.ceil(np.exp(ease - gain + rng.normal(0, luck) + rng.normal(0, noise, len(ease))))
    return np.where(ranks <= 10, 1/np.log2(ranks + 1), 0)

@pytest.fixture(autouse=True)
def same_draws(): rng.bit_generator.state = np.random.default_rng(1).bit_generator.state # in whatever order tests run

@pytest.fixture
def lab(tmp_path):
    from embed_lab.lab import read_lab
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    return read_lab(tmp_path)

base = scores(-.4, 0)

def made(lab, name, gain=0., seeds=(1, 2, 3), guard=None, **params):
    from embed_lab.evaluation.comparable import mock_run
    return [mock_run(lab, f'{name},seed={s}', dict(tuned=scores(gain), base=base, bm25=base/2), s, None if guard is None else dict(tuned=scores(guard), base=base), **params) for s in seeds]

def changed(path, **facts):
    m = json.loads((path/'run.json').read_text())
    (path/'run.json').write_text(json.dumps(m | facts))
    return m

def compare(lab, *words, **kw):
    from embed_lab.evaluation.compare import compare
    return compare(lab, words, **kw)

def refusal(lab, *words): return emb('compare', *words, cwd=lab.path, ok=2).stderr.strip()

# what was searched

def test_the_number_of_documents_searched_stands_in_every_form(lab):
    for name in ('exp_01', 'exp_02'):
        for p in made(lab, name): changed(p, documents=1442)
    res = compare(lab, 'exp*')
    assert all('gold was searched among 1,442 documents' in o for o in (res.markdown(), res.latex(), res._repr_html_(), '\n'.join(res.lines()))) and res.to_dict()['documents'] == 1442
    changed(made(lab, 'exp_03')[0], documents=1442) # two of its runs are from before manifests said so, and were judged alike
    assert compare(lab, 'exp*').documents == 1442

@pytest.mark.parametrize('documents', [None, 0, -3, True, 'many', [9], 1.5, {}])
def test_nothing_is_guessed_where_no_run_says_what_was_searched(lab, documents):
    for p in made(lab, 'exp_01') + made(lab, 'exp_02'): changed(p, documents=documents)
    res = compare(lab, 'exp*')
    assert res.documents is None and 'searched' not in res.markdown()

@pytest.mark.parametrize('numbers, column, below', [((1442, 1442), False, True), ((1442, 107525), True, False), ((1442, None), True, False), ((None, None), False, False)])
def test_the_list_of_runs_gives_one_number_once_and_several_in_a_column(capsys, monkeypatch, numbers, column, below):
    "At 60 columns a column more would break the words of the others"
    from embed_lab.cli.lab_commands import _score_table
    monkeypatch.setenv('COLUMNS', '60')
    score = dict(tuned=dict(mean=.6), gain=dict(mean=.1, low=.05, high=.15))
    _score_table([('exp_00', dict(status='failed')), *((f'exp_0{i}', dict(status='completed', headline=score, documents=n)) for i,n in enumerate(numbers, 1))])
    said = capsys.readouterr().out
    assert ('gold was searched among 1,442 documents' in said) == below and ('documents' in said.replace('among 1,442 documents', '')) == column
    assert said.count('completed') == 2 and ('107,525' in said) == (107525 in numbers)

# verdicts

def test_seeds_are_gathered_and_a_better_recipe_wins(lab):
    made(lab, 'exp_01', lr=1e-4), made(lab, 'exp_01,lr=0.0002', .5, lr=2e-4), made(lab, 'exp_02', .02, lr=1e-4)
    res = json.loads(emb('compare', 'exp_01,lr*', 'exp_01,seed=*', 'exp_02*', '--json', cwd=lab.path).stdout)
    assert [(o['mark'], o['name'], o['seeds'], len(o['runs'])) for o in res['recipes']] == [('a', 'exp_01,lr=0.0002', 3, 3), ('b', 'exp_01,lr=0.0001', 3, 3), ('c', 'exp_02', 3, 3)]
    words = {(o['ours'], o['theirs']): o['verdict']['word'] for o in res['pairs']}
    assert words == {('a', 'b'): 'win', ('a', 'c'): 'win', ('b', 'c'): 'tie'}
    assert [o['name'] for o in res['others']] == ['base, untuned', 'BM25'] and res['pairs'][0]['differences'] == [dict(cause='code', what='parameter lr was 0.0001, now 0.0002')]
    assert all(i['low'] < i['mean'] < i['high'] for o in res['recipes'] + res['others'] for i in o['scores'].values())
    back = compare(lab, 'exp_01,seed=*', 'exp_01,lr*')
    assert back.pairs[0].verdict.word == 'loss' and back.beats == {'b': ['a']}

def test_words_are_those_of_verdict_after_holm(lab):
    from embed_lab.evaluation.verdict import holm_corrected, seed_noise, verdict
    for i in range(4): made(lab, f'exp_0{i}', i/8)
    res, own = compare(lab, 'exp*'), compare(lab, 'exp*', lend=False)
    sides = [o.scores['tuned']['ndcg@10'] for o in res.recipes]
    pairs = [(i, j) for i in range(4) for j in range(i+1, 4)]
    lent = [seed_noise([o for k,o in enumerate(sides) if k not in p]) for p in pairs]
    for got,noise in ((res, lent), (own, [None]*6)):
        want = holm_corrected([verdict(sides[i], sides[j], noise=n) for (i,j),n in zip(pairs, noise)])
        assert [(o.verdict.word, o.verdict.p, o.verdict.low) for o in got.pairs] == [(v.word, v.p, v.low) for v in want]
    assert {o.lent for o in res.pairs} == {4} and {o.lent for o in own.pairs} == {0}
    assert any('pooled with that of the other recipes' in o for o in res.lines()) and not any('pooled' in o for o in own.lines())

def test_what_a_tie_would_take_counts_the_correction(lab):
    for i in range(6): made(lab, f'exp_0{i}', i/20)
    res = compare(lab, 'exp*', lend=False)
    for o in res.pairs:
        v = o.verdict
        if v.word != 'tie': assert v.seeds_needed is None and v.queries_needed is None
        else: assert v.detectable > abs(v.effect) and (v.seeds_needed or 4) > 3

def test_one_seed_never_wins(lab):
    made(lab, 'exp_01', seeds=[1]), made(lab, 'exp_02', 2., seeds=[1])
    res = compare(lab, 'exp_02*', 'exp_01*')
    assert res.pairs[0].verdict.word == 'unmeasured' and not res.beats and 'a v b: one seed each: seed noise is unmeasured, so interval and p reflect queries alone' in res.lines()
    out = emb('compare', 'exp*', cwd=lab.path).stdout
    assert 'unmeasured' in out and ' win ' not in out
    made(lab, 'exp_03', 1.)
    lent = compare(lab, 'exp_02*', 'exp_01*', 'exp_03*')
    assert lent.pairs[0].verdict.word == 'win' and 'seed noise is borrowed from other recipes, 2 degrees of freedom' in ' '.join(lent.lines())
    assert compare(lab, 'exp_02*', 'exp_01*', 'exp_03*', lend=False).pairs[0].verdict.word == 'unmeasured'

def test_one_recipe_is_held_against_its_untuned_base(lab):
    made(lab, 'exp_01')
    res = compare(lab, 'exp_01*')
    assert [(o.name, o.verdict.word, o.verdict.seeds) for o in res.pairs] == [('a v b', 'win', (3, 0))] and [o[:2] for o in res.rows][1] == ('b', 'base, untuned')
    assert compare(lab, 'exp_01,seed=1').pairs[0].verdict.word == 'unmeasured'
    assert not res.pairs[0].verdict.warning and not res.pairs[0].differences

def test_a_fixed_side_has_no_noise_and_the_test_keeps_its_promise():
    from embed_lab.evaluation.verdict import verdict
    def called(seeds):
        fresh = rng.normal(0, 1.8, 300) # verdicts are about queries like these, so they come anew each time
        def row(luck): return np.where((r := np.ceil(np.exp(fresh + luck + rng.normal(0, .3, 300)))) <= 10, 1/np.log2(r + 1), 0)
        return verdict(np.array([row(rng.normal(0, .06)) for _ in range(seeds)]), row(0)[None], fixed=True).word != 'tie'
    for k in (3, 5): assert sum(called(k) for _ in range(300)) <= 24
    assert 'train a third' in verdict(np.stack([scores(), scores()]), base[None], fixed=True).warning

def test_the_guard_set_has_its_say(lab):
    made(lab, 'exp_01', 0, guard=.5), made(lab, 'exp_02', .5, guard=0.)
    res = compare(lab, 'exp_02*', 'exp_01*')
    assert res.pairs[0].harm and res.lines()[0].startswith('a v b: a win on gold is a loss on guard (-0.')
    assert 'loss -0.' in emb('compare', 'exp_02*', 'exp_01*', cwd=lab.path).stdout and json.loads(emb('compare', 'exp_02*', 'exp_01*', '--json', cwd=lab.path).stdout)['pairs'][0]['harm']
    made(lab, 'exp_03')
    assert 'guard is not compared: exp_03,seed=1, exp_03,seed=2, exp_03,seed=3 have no scores on it' in compare(lab, 'exp*').notes

# a seed counts once

def again(lab, path, name, day=2, noise=.001, **hardware):
    "The same run once more: of the same seed, computed otherwise, its scores moved a little"
    to = shutil.copytree(path, lab.results/name)
    lines = [json.loads(o) for o in (to/'eval'/'per_query.jsonl').read_text().splitlines()]
    for o in lines: o['tuned']['scores']['ndcg@10'] = float(np.clip(o['tuned']['scores']['ndcg@10'] + rng.normal(0, noise), 0, 1))
    (to/'eval'/'per_query.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    changed(to, start=f'2030-01-0{day}T12:00:00+00:00', hardware=changed(to)['hardware'] | dict(device='cpu', precision='fp32') | hardware)
    return to

def test_the_same_seed_on_one_and_on_two_threads_is_one_seed(lab):
    for name,gain in dict(exp_01=0, exp_02=.5).items():
        [path] = made(lab, name, gain, seeds=[1])
        again(lab, path, f'{name},seed=1,threads', threads=2)
    res = compare(lab, 'exp_02*', 'exp_01*')
    assert [(o.verdict.word, o.verdict.seeds, o.lent) for o in res.pairs] == [('unmeasured', (1, 1), 0)] and [o['seed noise'] for o in res.score_table()][:2] == ['unmeasured']*2
    assert any(o.startswith('a: 1 run repeats a seed (exp_02,seed=1); a seed counts once, by its newest run, and repeating it moves nDCG@10 by ') for o in res.lines())
    assert [(o['runs'], o['repeats'], o['seeds']) for o in res.to_dict()['recipes']] == [([f'{k},seed=1,threads'], [f'{k},seed=1'], 1) for k in ('exp_02', 'exp_01')]

def test_neither_copies_nor_renamed_experiments_nor_other_labs_make_seeds(lab, tmp_path):
    [path] = made(lab, 'exp_01', seeds=[1])
    again(lab, path, 'exp_09_renamed', 3)
    changed(lab.results/'exp_09_renamed', experiment='exp_09_renamed')
    away = shutil.copytree(path, tmp_path/'away'/'exp_01,seed=1')
    [recipe] = compare(lab, 'exp*', away).recipes
    assert [o.name for o in recipe.runs] == ['exp_09_renamed'] and len(recipe.repeats) == 2 and 0 < recipe.moved['ndcg@10'] < .001

def test_repeats_change_no_verdict_and_the_newest_run_stands(lab):
    first = made(lab, 'exp_01', 0) + made(lab, 'exp_02', .1) + made(lab, 'exp_03', .3)
    before = compare(lab, *first)
    for i,path in enumerate(first):
        again(lab, path, f'{path.name},older'), changed(path, start='2031-01-01T12:00:00+00:00')
        again(lab, path, f'{path.name},oldest', 1, .05)
    after = compare(lab, 'exp*')
    assert [o.verdict for o in after.pairs] == [o.verdict for o in before.pairs] and [len(o.repeats) for o in after.recipes] == [6]*3
    assert after.rows[0][2] == before.rows[0][2]

def test_one_recipe_computed_in_two_ways_lends_its_seeds_once(lab):
    made(lab, 'exp_01', seeds=[1]), made(lab, 'exp_02', seeds=[1]), made(lab, 'exp_03')
    for s in (1, 2, 3):
        to = again(lab, lab.results/f'exp_03,seed={s}', f'exp_03,seed={s},threads=1')
        i = changed(to)['inputs']
        changed(to, inputs=i | dict(parameters=i['parameters'] | dict(threads=1)))
    res = compare(lab, 'exp*')
    assert len(res.recipes) == 4 and {o.name: o.lent for o in res.pairs} == {'a v b': 2} | {f'{a} v {b}': 0 for a,b in ('ac', 'ad', 'bc', 'bd', 'cd')}

def test_an_untuned_model_with_numerical_noise_is_one_system(lab):
    from embed_lab.evaluation.comparable import mock_run
    for s,shift in ((1, 0), (2, 1e-6)): mock_run(lab, f'exp_00,seed={s}', dict(base=np.clip(base + shift, 0, 1)), s)
    made(lab, 'exp_01')
    pair = compare(lab, 'exp_01*', 'exp_00*').pairs[0]
    assert pair.verdict.seeds == (3, 0) and pair.verdict.word == 'win'

def test_other_hardware_is_neither_pooled_nor_paired_without_a_word(lab):
    for path in made(lab, 'exp_01') + made(lab, 'exp_02'): changed(path, hardware=changed(path)['hardware'] | dict(device='cpu', precision='bf16', threads=2))
    assert not any('computed alike' in o for o in compare(lab, 'exp*').notes)
    changed(path, hardware=changed(path)['hardware'] | dict(precision='fp32'))
    assert 'not all runs were computed alike, which moves scores by itself: precision bf16 (a, b), fp32 (b)' in compare(lab, 'exp*').notes
    assert 'computed alike' in emb('compare', 'exp*', cwd=lab.path).stdout
    made(lab, 'exp_03')
    assert sum('fp32 (b)' in o for o in compare(lab, 'exp*').notes) == 1 # runs from before hardware was recorded say nothing

# what is refused

def test_names_are_helped_and_only_completed_runs_compared(lab):
    made(lab, 'exp_01')
    assert refusal(lab, 'exp_01,sed=1') == 'emb: no run `exp_01,sed=1` in results/; did you mean `exp_01,seed=1`?'
    assert 'no run matches `exp_9*`' in refusal(lab, 'exp_9*')
    changed(lab.results/'exp_01,seed=3', status='failed')
    assert refusal(lab, 'exp_01,seed=1', 'exp_01,seed=3').startswith('emb: results/exp_01,seed=3 is failed: only completed runs')
    out = emb('compare', 'exp_01*', cwd=lab.path).stdout
    assert 'skipped: exp_01,seed=3 (failed)' in out
    assert 'has no score `ndcg@5`; did you mean `ndcg@10`?' in refusal(lab, 'exp_01*', '--measure', 'nDCG@5')
    assert 'exclude one another' in refusal(lab, 'exp_01*', '--json', '--latex')
    shutil.rmtree(lab.results/'exp_01,seed=2'/'eval')
    assert 'without eval/per_query.jsonl' in refusal(lab, 'exp_01,seed=2')

def test_folders_are_runs_too_wherever_they_lie(lab, tmp_path):
    a, b, c = made(lab, 'exp_01')
    shutil.move(c, away := tmp_path/'away'/'exp_01,seed=3')
    assert [len(o.runs) for o in compare(lab, a, str(b) + '/', str(away)).recipes] == [3]
    assert [len(o.runs) for o in compare(lab, a, a, a.name).recipes] == [1]

@pytest.mark.parametrize('file', ['gold.jsonl', 'corpus.jsonl', 'qrels.tsv'])
def test_another_gold_is_refused_by_name(lab, file):
    made(lab, 'exp_01', seeds=[1]), made(lab, 'exp_02', seeds=[1])
    m = changed(lab.results/'exp_02,seed=1')
    m['inputs']['data'][file] = dict(sha256='sha256:another', lines=1)
    changed(lab.results/'exp_02,seed=1', inputs=m['inputs'])
    assert refusal(lab, 'exp*') == f'emb: cannot be compared: data/{file} differs: exp_01,seed=1 against exp_02,seed=1; compare runs that were judged alike'

def test_other_metrics_or_another_promise_are_refused(lab):
    made(lab, 'exp_01', seeds=[1]), made(lab, 'exp_02', seeds=[1])
    path = lab.results/'exp_02,seed=1'
    m = changed(path)
    m['environment']['packages']['pytrec-eval-terrier'] = '0.0.1'
    changed(path, environment=m['environment'], inputs=m['inputs'] | dict(corpus='fixed'))
    said = refusal(lab, 'exp*')
    assert 'corpus in settings.ini differs: exp_01,seed=1 against exp_02,seed=1; the metrics differ: exp_01,seed=1 (pytrec-eval-terrier ' in said and 'against exp_02,seed=1 (pytrec-eval-terrier 0.0.1)' in said

def test_what_evaluation_said_counts_where_all_runs_say_it(lab):
    runs = made(lab, 'exp_01', seeds=[1]) + made(lab, 'exp_02', seeds=[1])
    def say(run, gold='g', corpus='c', version='1'): (run/'eval'/'gold_metrics.json').write_text(json.dumps(dict(task=dict(gold=gold, corpus=corpus), measures=dict(implementation='pytrec_eval', version=version))))
    m = changed(runs[1])
    m['inputs']['data']['gold.jsonl'] = dict(sha256='sha256:the same rows in another order', lines=1)
    changed(runs[1], inputs=m['inputs'])
    say(runs[0])
    assert 'data/gold.jsonl differs' in refusal(lab, 'exp*')
    say(runs[1])
    assert compare(lab, 'exp*').pairs
    for what,kw in {'gold differs': dict(gold='h'), 'corpus differs': dict(corpus='d'), 'the metrics differ: exp_01,seed=1 (pytrec_eval 1) against exp_02,seed=1 (pytrec_eval 2)': dict(version='2')}.items():
        say(runs[1], **kw)
        assert what in refusal(lab, 'exp*')

def test_damaged_scores_and_other_queries_are_named(lab):
    made(lab, 'exp_01')
    file = lab.results/'exp_01,seed=2'/'eval'/'per_query.jsonl'
    text = file.read_bytes()
    file.write_bytes(text[:-40])
    assert 'results/exp_01,seed=2/eval/per_query.jsonl: not the scores of queries' in refusal(lab, 'exp_01,seed=1', 'exp_01,seed=2')
    assert [*compare(lab, 'exp*').recipes[0].runs] == [lab.results/f'exp_01,seed={s}' for s in (1, 3)]
    file.write_bytes(b''.join(text.splitlines(True)[1:]))
    assert 'results/exp_01,seed=2 was not scored on the same queries as results/exp_01,seed=1 (299 and 300)' in refusal(lab, 'exp*')
    file.write_bytes(b''.join(reversed(text.splitlines(True))))
    assert compare(lab, 'exp*').pairs

# what is shown

def test_every_format_escapes_and_marks_who_beats_whom(lab):
    odd = 'exp_<script>_&|$%'
    made(lab, odd, .6), made(lab, 'exp_01')
    res = compare(lab, 'exp_<*', 'exp_01*')
    md, tex, html = res.markdown(), res.latex(), res._repr_html_()
    assert '<script>' not in md + tex + html and '<sup>b</sup>' in md and r'$^{\mathrm{b}}$' in tex and '<sup>b</sup>' in html
    assert r'exp\_\textless{}script\textgreater{}\_\&\textbar{}\$\%' in tex and 'exp\\_\\<script\\>\\_\\&\\|\\$%' in md and 'exp_&lt;script&gt;_&amp;|$%' in html
    assert {o.replace('\\|', '').count('|') for o in md.splitlines() if o.startswith('|')} <= {6, 7} # every row as wide as its head
    for flag,text in (('--markdown', md), ('--latex', tex)): assert emb('compare', 'exp_<*', 'exp_01*', flag, cwd=lab.path).stdout == text
    assert 'exp_<script>_&|$%' in emb('compare', 'exp*', cwd=lab.path, COLUMNS='200').stdout
    assert tex.count(r'\begin{') == tex.count(r'\end{')

def test_it_is_light(lab):
    made(lab, 'exp_01')
    code = "import sys; from embed_lab.cli.commands import app\ntry: app(['compare', 'exp*'])\nexcept SystemExit: pass\nprint(*[o for o in ('torch', 'transformers', 'papermill', 'plotly', 'pandas', 'scipy', 'nbdev', 'IPython') if o in sys.modules], file=sys.stderr)"
    assert sh(sys.executable, '-c', code, cwd=lab.path).stderr.strip() == ''

# gold is finite

def _log(lab, i):
    from embed_lab.runs.looks import log_look
    for j in range(10): log_look(lab, 'exp_01,seed=1', dict(parameters=dict(lr=i, seed=j), data={'gold.jsonl': dict(sha256='x'*400)}), f'{i} {j}')

def test_looks_survive_concurrent_writers(lab):
    from embed_lab.runs.looks import count_looks
    made(lab, 'exp_01')
    with ProcessPoolExecutor(8) as pool: list(pool.map(_log, [lab]*8, range(8)))
    lines = [json.loads(o) for o in (lab.results/'gold_log.jsonl').read_text().splitlines()]
    assert [o['number'] for o in lines] == [*range(1, 81)] and {frozenset(o) for o in lines} == {frozenset(('time', 'gold', 'run', 'recipe', 'look', 'number'))}
    assert repr(count_looks(lab, [lines[0]['gold']])[0]).endswith(' seen 80 times by 8 recipes')

def test_real_runs_are_compared_and_their_looks_counted(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    for args in (('seed', 7), ('lr', .02)): emb('run', exp, '-p', 'epochs', 12, '-p', 'lr', .01, '-p', *args, cwd=lab)
    emb('reproduce', name(lab).name, cwd=lab)
    assert ' seen 4 times by 2 recipes' in emb('ls', cwd=lab).stdout # a reproduction is a look too
    res = json.loads(emb('compare', f'{exp}*', '--json', cwd=lab).stdout)
    assert [(o['name'], o['seeds']) for o in res['recipes']] == [(f'{exp},lr=0.01', 2), (f'{exp},lr=0.02', 1)] and (res['gold']['times'], res['gold']['recipes']) == (4, 2)
    assert res['pairs'][0]['verdict']['word'] == 'unmeasured' and res['pairs'][0]['differences'] == [dict(cause='code', what='parameter lr was 0.02, now 0.01')]
    assert {'ndcg@10', 'mrr@10', 'recall@100'} <= res['recipes'][0]['scores'].keys() and {'base, untuned', 'BM25'} <= {o['name'] for o in res['others']}
    out = emb('compare', name(lab), cwd=lab).stdout
    assert 'one seed of ours: seed noise is unmeasured' in out and ' seen 4 times by 2 recipes' in out
    shutil.rmtree(name(lab))
    assert ' seen 4 times by 2 recipes' in emb('ls', cwd=lab).stdout # a reproduction is a look too
