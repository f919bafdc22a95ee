"Wrong answers that may be right: who is suspected, and what somebody decided"
from concurrent.futures import ProcessPoolExecutor
import pytest
from embed_lab.training.audit import Audit, decided_rows, add_decision, decisions_in_force, in_batch_candidates, find_suspects
from embed_lab.lab import LabError
from embed_lab.runs.manifest import data_facts
from embed_lab.training.mining import mine_hard_negatives
from embed_lab.training.negatives import with_negatives
from embed_lab.data.files import write_rows
from embed_lab.data.folder import check_data
from embed_lab.data.task import read_decisions

rows = [dict(query='reset my router', passage='hold the button for ten seconds', label=1),
    dict(query='router is stuck', passage='switch it off and on again', label=1),
    dict(query='dim the light', passage='turn the dial', label=1, negatives=['turn the knob', 'call us']),
    dict(query='reset my router', passage='open the manual', label=0)]

def near(passage, score=.1, query='reset my router', positive='hold the button for ten seconds'):
    return dict(query=query, positive=positive, passage=passage, score=score, rank=1, positive_score=.8, positive_rank=2)

def letters(texts, kind):
    import numpy as np
    return np.array([[t.lower().count(c) for c in 'abcdefghijklmnopqrstuvwxyz'] for t in texts])

# signs

@pytest.mark.parametrize('candidate, judge, why', [
    (near('Hold the button for ten seconds.'), None, 'but for typing'),
    (near('hold the button for ten whole seconds'), None, '86% of its words'),
    (near('open the lid', .8), None, 'the model finds it as close'),
    (near('open the lid'), lambda pairs: [float('lid' in p) for _,p in pairs], 'the judge scores it as high')])
def test_every_sign_alone_makes_a_suspect(candidate, judge, why):
    [res] = find_suspects([candidate], rows, judge)
    assert len(res['why']) == 1 and why in res['why'][0]

def test_without_a_sign_or_with_a_label_there_is_no_suspicion():
    assert not find_suspects([near('open the lid', .79), near('hold the button for ten seconds', .9)], rows, lambda pairs: [float('button' in p) for _,p in pairs])

def test_the_judge_is_asked_once_a_pair_and_has_to_answer_in_numbers():
    asked = []
    find_suspects([near('a'), near('b'), near('a')], rows, lambda pairs: asked.extend(pairs) or [0]*len(pairs))
    assert len(asked) == len(set(asked)) == 3
    for judge in (lambda pairs: [0], lambda pairs: [float('nan')]*len(pairs)):
        with pytest.raises(LabError, match='judge'): find_suspects([near('a')], rows, judge)

def test_both_kinds_come_out_of_one_ranking():
    every = mine_hard_negatives(rows, letters, n=5).candidates
    there = in_batch_candidates(every, rows)
    assert {o['passage'] for o in there} == {o['passage'] for o in rows if o['label']} and len(there) == 6 < len(every)
    mined = mine_hard_negatives(rows, letters, n=1).candidates
    kinds = [o['kind'] for o in find_suspects([*mined, *there], rows, lambda pairs: [1]*len(pairs))]
    assert kinds.count('mined') == len(mined) and 'in-batch' in kinds

def test_a_judge_cannot_excuse_the_text_of_an_answer():
    typed = near('Hold the button for ten seconds.', .9)
    assert [o['why'] for o in find_suspects([typed], rows, lambda pairs: [float(p == typed['positive']) for _,p in pairs])] == [('an answer to this query but for typing',)]

def test_a_pair_that_is_mined_and_in_a_batch_is_mined():
    both = near('switch it off and on again', .9)
    assert [o['kind'] for o in find_suspects([both, both | dict(kind='in-batch')], rows)] == ['mined']
    assert find_suspects([both | dict(positive_rank=40)], rows) == [] # the model does not know what the query is about

# the file

def some(path, who):
    for i in range(20): add_decision(path, f'query {who} {i}', 'passage', 'drop')

def test_no_decision_is_lost_when_two_decide(tmp_path):
    path = tmp_path/'decisions.jsonl'
    with ProcessPoolExecutor(2) as ex: [*ex.map(some, [path]*2, 'ab')]
    assert len(decisions_in_force(read_decisions(path))) == 40

def test_a_line_without_its_end_is_not_joined_and_the_last_one_holds(tmp_path):
    path = tmp_path/'decisions.jsonl'
    path.write_bytes(b'{"query":"Dim the light?","passage":"call us","decision":"keep"}')
    add_decision(path, 'dim the light', 'Call us', 'drop', note='a shop')
    assert len(read_decisions(path)) == 2
    assert decisions_in_force(read_decisions(path)) == {('dim the light', 'Call us'): 'drop'}

@pytest.mark.parametrize('line, why', [('{"query":"a","passage":"b"}', 'no `decision`'), ('{"query":"a","passage":"b","decision":"no"}', 'keep, drop or relabel'), ('{"query"', 'not JSON')])
def test_what_is_no_decision_is_named_with_its_line(tmp_path, line, why):
    for k in ('train', 'dev', 'gold'): write_rows(tmp_path/f'{k}.jsonl', rows)
    (tmp_path/'decisions.jsonl').write_text('{"query":"a","passage":"b","decision":"keep"}\n' + line + '\n')
    with pytest.raises(LabError, match=r'decisions.jsonl:2: .*' + why): check_data(tmp_path)

@pytest.mark.parametrize('args', [('a', 'b', 'no'), ('', 'b', 'drop'), ('a', '  ', 'drop')])
def test_what_would_not_be_read_is_not_written(tmp_path, args):
    with pytest.raises(LabError): add_decision(tmp_path/'decisions.jsonl', *args)
    assert not (tmp_path/'decisions.jsonl').exists()

def test_a_packed_file_is_left_alone(tmp_path):
    (tmp_path/'decisions.jsonl.gz').write_bytes(b'')
    with pytest.raises(LabError, match='gunzip'): add_decision(tmp_path/'decisions.jsonl', 'a', 'b', 'drop')

# train

def test_train_obeys():
    after, counts = decided_rows(rows, {('Reset my router?', 'Open the manual'): 'relabel', ('dim the light', 'turn the knob'): 'drop', ('dim the light', 'call us'): 'keep',
        ('router is stuck', 'hold the button for ten seconds'): 'relabel', ('router is stuck', 'weep'): 'drop', ('brew tea', 'boil water'): 'relabel'})
    assert after == [*rows[:2], rows[2] | dict(negatives=['call us']), rows[3] | dict(label=1), dict(query='router is stuck', passage='hold the button for ten seconds', label=1)]
    assert counts == dict(drop=1, relabel=2, keep=1, mining=1, nothing=1)
    assert decided_rows(after, {})[0] == after and rows[2]['negatives'] == ['turn the knob', 'call us']

def test_a_relabelled_negative_becomes_one_row():
    after, _ = decided_rows(rows, {('dim the light', 'turn the knob'): 'relabel'})
    assert after[2]['negatives'] == ['call us'] and after[4:] == [dict(query='dim the light', passage='turn the knob', label=1)]

@pytest.mark.parametrize('said, left', [(('drop', 'keep'), dict(negatives=['call us'], teacher_scores=[7, 2])), (('keep', 'relabel'), dict(negatives=['turn the knob'], teacher_scores=[7, 1])),
    (('drop', 'drop'), dict(teacher_scores=[7])), (('keep', 'keep'), dict(negatives=['turn the knob', 'call us'], teacher_scores=[7, 1, 2]))])
def test_a_teachers_scores_go_with_their_negatives(said, left):
    row = rows[2] | dict(teacher_scores=[7, 1, 2])
    after, _ = decided_rows([row], {('dim the light', t): o for t,o in zip(row['negatives'], said)})
    assert after[0] == {k: v for k,v in row.items() if k in ('query', 'passage', 'label')} | left

def test_what_was_mined_has_no_scores():
    mined = mine_hard_negatives(rows, letters, n=1)
    after, _ = with_negatives([o | dict(teacher_scores=[1] + [0]*len(o.get('negatives', ()))) for o in rows], mined, set(), 2)
    assert ['teacher_scores' in o for o in after] == [o['label'] == 0 for o in rows]

@pytest.mark.parametrize('said', ['drop', 'keep'])
def test_a_contradiction_is_refused(said):
    with pytest.raises(LabError, match='train.jsonl has it with label 1'): decided_rows(rows, {('dim the light', 'Turn the dial.'): said})

def test_mining_leaves_decided_pairs_alone():
    said = {('router is stuck', 'Hold the button for ten seconds'): 'keep'}
    found = {(o['query'], o['passage']) for o in mine_hard_negatives(rows, letters, n=5, never=said).candidates}
    passage = 'hold the button for ten seconds'
    assert ('router is stuck', passage) not in found and ('dim the light', passage) in found

# a page

def test_buttons_write_and_pages_turn(tmp_path):
    pytest.importorskip('ipywidgets')
    path = tmp_path/'decisions.jsonl'
    audit = Audit(find_suspects([near(f'passage {i}', .9) for i in range(23)], rows), path)
    page = audit.review(size=10)
    bar, body = page.children
    def press(i, word): next(b for b in body.children[i].children[1].children if b.description == word).click()
    press(0, 'drop'); bar.children[-1].click(); bar.children[-1].click(); press(2, 'relabel')
    assert len(body.children) == 3 and bar.children[-1].disabled
    press(2, 'keep')
    assert [i for i,o in enumerate(audit.decisions) if o] == [0, 22] and audit.decisions[22] == 'keep'
    path.unlink(); path.mkdir()
    press(0, 'drop')
    assert 'decisions.jsonl' in body.children[0].children[2].value

def test_the_table_is_escaped_and_ends(tmp_path):
    html = Audit(find_suspects([near(f'<script>{i}</script>' + 'x'*300, .9) for i in range(60)], rows), tmp_path/'decisions.jsonl')._repr_html_()
    assert '<script' not in html and html.count('<details>') == 20 and '40 more' in html
    assert '<table' not in Audit([], tmp_path/'none.jsonl')._repr_html_()

# a lab

def test_loading_obeys_and_the_manifest_knows(tmp_path):
    from embed_lab.inventory.datasets import load_splits
    for k in ('train', 'dev', 'gold'): write_rows(tmp_path/f'{k}.jsonl', rows)
    before, splits = data_facts(tmp_path), load_splits(tmp_path)
    assert (splits.decisions, splits.notes) == ({}, ())
    add_decision(tmp_path/'decisions.jsonl', 'reset my router', 'open the manual', 'drop')
    first, less = data_facts(tmp_path), load_splits(tmp_path)
    assert less.rows('train') == rows[:3] and less.rows('gold') == rows and less.decisions == {('reset my router', 'open the manual'): 'drop'}
    assert less.notes == ('decisions: 1 drop, 0 relabel, 0 keep in train; 0 for mining alone, 0 match no query of train',)
    add_decision(tmp_path/'decisions.jsonl', 'reset my router', 'open the manual', 'keep')
    assert first.keys() - before.keys() == {'decisions.jsonl'} and data_facts(tmp_path) != first
