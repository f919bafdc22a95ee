"A score below which nothing is found: chosen on dev, measured on gold, and used where hits are shown"
import json, shutil
import numpy as np
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json, write_rows
from embed_lab.data.reading import read_rows
from embed_lab.data.task import retrieval_task
from embed_lab.delivery.threshold import FirstHits, first_hits, lowest_score, measured, seek_threshold
from embed_lab.evaluation.ask import Found
from embed_lab.evaluation.scores import score_rankings
from embed_lab.lab import read_lab
from embed_lab.models.base import weights_hash
from embed_lab.runs.manifest import mock_manifest
from support import emb, exp

def command(*args):
    res = CliRunner().invoke(app, args)
    return res.exit_code, res.stdout if '--json' in args else res.stdout + res.stderr

def odd(lab, split, n):
    "Questions that the corpus does not answer, each judged with one of its passages"
    passages = [json.loads(o)['text'] for o in (lab/'data'/'corpus.jsonl').read_text().splitlines()]
    return [dict(query=f'{split} zebra {i} ocean', passage=passages[i], label=0) for i in range(n)]

def easy(row):
    "Something that an untrained model finds"
    return row | dict(query=' '.join(row['passage'].split()[:20]))

def ask_more(lab, n=15):
    "A corpus of all splits, and questions without an answer in dev and gold"
    (lab/'data'/'corpus.jsonl').unlink()
    emb('corpus', cwd=lab)
    for split in ('dev', 'gold'):
        file = lab/'data'/f'{split}.jsonl'
        write_rows(file, [*(easy(o) for o in read_rows(file) if o['label']), *odd(lab, split, n)])
    return lab

def test_questions_without_an_answer_change_no_score():
    rows = [dict(query=f'q{i}', passage=f'p{i}', label=1) for i in range(4)]
    both = [retrieval_task(o, {f'd{i}': f'p{i}' for i in range(6)}) for o in (rows, [*rows, dict(query='none', passage='p5', label=0)])]
    hits = {f'q{i}': [('d0', .9), (f'd{i}', .8)][i == 0:] for i in range(5)}
    a, b = (score_rankings(o, dict(tuned=hits, base=hits)) for o in both)
    assert a.means == b.means and b.to_dict()['unscored_queries'] == 1

def test_a_threshold_is_chosen_measured_recorded_and_used(lab, monkeypatch):
    ask_more(lab)
    monkeypatch.chdir(lab)
    code, said = command('check', 'data')
    assert code == 0 and 'questions without an answer' in said
    emb('run', exp, cwd=lab)
    run = exp
    log = lab/'results'/'gold_log.jsonl'
    before = len(log.read_text().splitlines())
    code, said = command('threshold', run, '--precision', '.5', '--json')
    found = json.loads(said)
    assert code == (0 if found['holds'] else 1) and found['gold']['refused']['n'] == 15 and not found['gold']['made']
    assert found['dev']['precision']['mean'] >= .5 and found['gold']['coverage']['n'] + 15 == len({o['query'] for o in read_rows(lab/'data'/'gold.jsonl')})
    assert json.loads((lab/'results'/run/'eval'/'threshold.json').read_text()) == found
    assert f"{found['score']:.4g}" in (lab/'results'/run/'final'/'README.md').read_text()
    command('threshold', run, '--precision', '.5')
    assert len(log.read_text().splitlines()) == before + 1
    code, said = command('threshold', run)
    assert code in (0, 1) and f'{run}: ' in said
    command('threshold', run, '--precision', '.5')
    answer = json.loads(command('search', run, 'zebra ocean', '--json')[1])[0]
    assert answer['threshold'] == found['score'] and answer['nothing_found'] == (answer['systems']['tuned'][0]['score'] < found['score'])
    file = lab/'results'/run/'eval'/'threshold.json'
    file.write_text(json.dumps(found | dict(score=2.)))
    assert 'nothing found: the best score of tuned, ' in command('search', run, 'read a file')[1]
    file.write_text(json.dumps(found | dict(score=2., weights='sha256:0')))
    assert 'nothing found' not in command('search', run, 'read a file')[1]
    file.write_text('{"score": ')
    code, said = command('search', run, 'read a file')
    assert code == 0 and 'threshold.json is not JSON' in said

def test_answers_of_dev_that_the_corpus_lacks_are_searched_with_it(tmp_path, base, data):
    "As in the lab of the sample, whose corpus is that of gold"
    for k in ('dev', 'gold'): write_rows(tmp_path/'data'/f'{k}.jsonl', [easy(o) for o in read_rows(data/f'{k}.jsonl') if o['label']])
    own = dict.fromkeys(o['passage'] for o in read_rows(tmp_path/'data'/'gold.jsonl'))
    write_rows(tmp_path/'data'/'corpus.jsonl', [dict(_id=f'd{i}', text=o) for i,o in enumerate(own)])
    (tmp_path/'settings.ini').write_text('[DEFAULT]\n')
    shutil.copytree(base, tmp_path/'results'/'exp_01'/'final')
    run = mock_manifest(experiment='exp_01', status='completed')
    run['inputs'] |= dict(parameters=dict(model=str(base), seed=42), base_model=weights_hash(base))
    write_json(tmp_path/'results'/'exp_01'/'run.json', run)
    res = seek_threshold(read_lab(tmp_path), 'exp_01', .5)
    dev = read_rows(tmp_path/'data'/'dev.jsonl')
    missing = {o['passage'] for o in dev} - own.keys()
    assert res.beside == len(missing) > 50 and res.documents == len(own)
    assert res.splits['dev'].coverage.n == len({o['query'] for o in dev}) and res.splits['dev'].precision.mean >= .5
    assert any('searched beside the corpus' in o for o in res.notes()) and res.to_dict()['beside'] == len(missing)

def test_what_cannot_be_said_is_said(lab, monkeypatch):
    monkeypatch.chdir(lab)
    code, said = command('threshold', 'exp_99')
    assert code == 2 and 'no run `exp_99`' in said
    assert command('threshold', exp, '--precision', '1.5')[0] == 2

def found(q, *hits): return Found(q, dict(tuned=list(hits)), {})

def test_answers_and_their_copies_are_taken_out_of_the_corpus():
    corpus = dict(d0='a', d1='a', d2='b', d3='c')
    task = retrieval_task([dict(query='x', passage='a', passage_id='d0', label=1), dict(query='y', passage='c', passage_id='d3', label=1)], corpus)
    hits = [found('x', ('d1', .9), ('d0', .9), ('d2', .4)), found('y', ('d3', .8), ('d0', .3))]
    res = first_hits(hits, task, set())
    assert res.made and res.without.tolist() == [.4, .3] and res.right.tolist() == [False, True] and res.judged.tolist() == [False, True]

def test_unjudged_questions_are_not_without_an_answer():
    task = retrieval_task([dict(query='x', passage='a', label=1, query_id='1'), dict(query='y', passage='a', label=1, query_id='2'), dict(query='z', passage='a', label=0, query_id='3')], dict(d0='a'), {'1': {'d0': 1}})
    res = first_hits([found(q, ('d0', .5)) for q in 'xyz'], task, {'z'})
    assert len(res.best) == 1 and res.without.tolist() == [.5] and not res.made

def test_of_equal_scores_all_are_answered():
    first = FirstHits(np.array([.9]*10 + [.5]*10), np.array([True]*15 + [False]*5), np.ones(20, bool), np.array([.5]))
    assert lowest_score(first, .9) == .9 and lowest_score(first, 15/21) == .5 and lowest_score(first, .75) == .9

def test_what_is_chosen_on_dev_holds_on_average():
    "A thousand questions of each split, two in ten without an answer: the precision on gold is what was asked for, within noise"
    def split(draw):
        right = draw.random(800) < .7
        return FirstHits(draw.normal(.6, .1, 800) + .15*right, right, right, draw.normal(.55, .1, 200))
    draw, on_gold = np.random.default_rng(0), []
    for _ in range(40):
        score = lowest_score(split(draw), .9)
        on_gold.append(measured(split(draw), score).precision.mean)
    assert abs(np.mean(on_gold) - .9) < .01
