"What nobody has judged is asked in a useful order, kept at once, and becomes a new version of gold"
import json, os, signal
import numpy as np, pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json, write_rows
from embed_lab.data.metrics import per_query
from embed_lab.evaluation.comparable import mock_run
from embed_lab.evaluation.judging import Judgement, judgements_file, keep_judgement, open_session, read_judgements, standing
from embed_lab.evaluation.pool import JudgingPool, current_gold, found_systems, ndcg_moves
from embed_lab.evaluation.scores import query_lines, score_rankings
from embed_lab.evaluation.versions import agreements, finish, resolved
from embed_lab.lab import LabError, read_lab

# a made set: 60 queries with six answers each, and four systems of which each is better than the one before

skill = dict(weak=.6, fair=.9, good=1.2, best=1.5)

def made_set(seed):
    "(all judgements, those that an old search would have given, what four systems found)"
    rng = np.random.default_rng(seed)
    docs = np.array([f'd{i}' for i in range(120)])
    truth = {f'q{i}': dict.fromkeys(rng.choice(docs, 6, replace=False).tolist(), 1) for i in range(60)}
    def ranked(q, s): return docs[np.argsort(-(np.isin(docs, [*truth[q]])*s*2 + rng.normal(size=len(docs))), kind='stable')[:10]].tolist()
    systems = {k: {q: ranked(q, s) for q in truth} for k,s in skill.items()}
    def seen(q): # what the weak system found is what was judged, and one answer that all would find
        known = [d for d in truth[q] if d in systems['weak'][q]]
        return dict.fromkeys(known or [*truth[q]][:1], 1)
    return truth, {q: seen(q) for q in truth}, systems

def order(qrels, systems):
    means = {s: np.mean([o['ndcg@10'] for o in per_query(qrels, h).values()]) for s,h in systems.items()}
    return sorted(means, key=means.get)

@pytest.mark.parametrize('seed', range(5))
def test_a_hundred_judgements_give_the_true_ranking_of_four_systems(seed):
    truth, seen, systems = made_set(seed)
    assert order(truth, systems) == [*skill] and order(seen, systems) != [*skill]
    pool = JudgingPool(seen, systems)
    for _ in range(100):
        o = pool.ordered()[0]
        pool.judge(o.query, o.document, truth[o.query].get(o.document, 0))
    assert order(pool.qrels, systems) == [*skill]

def test_relevant_documents_that_were_removed_come_back_to_the_top():
    truth, _, systems = made_set(7)
    rng = np.random.default_rng(0)
    holed = {q: {d: 1 for d in ds if rng.random() > .3} or {[*ds][0]: 1} for q,ds in truth.items()}
    left = JudgingPool(holed, systems).ordered()
    relevant = np.array([o.document in truth[o.query] for o in left])
    n = relevant.sum()
    assert n > 50 and relevant[:n].mean() > 3*relevant.mean() and relevant[:50].mean() > .6
    assert np.flatnonzero(relevant).mean() < .25*len(left)

def test_a_move_is_what_scoring_again_gives():
    rng = np.random.default_rng(1)
    for _ in range(50):
        docs = [f'd{i}' for i in range(14)]
        found = [rng.permutation(docs)[:10].tolist() for _ in range(3)]
        grades = {d: int(rng.integers(0, 4)) for d in docs[:5]} | dict(d0=2)
        moves = ndcg_moves(found, grades, ['d13', 'd12'], 3)
        def score(g, h): return per_query(dict(q=g), dict(q=h))['q']['ndcg@10']
        wanted = [[score(grades | {d: 3}, h) - score(grades, h) for h in found] for d in ('d13', 'd12')]
        assert np.abs(moves - wanted).max() < 1e-6

# labs

def lab_of(path, hits, gold=None, corpus=None, qrels=None):
    "A lab with a run for each of `hits`: name → query id → document ids"
    path.mkdir(exist_ok=True)
    (path/'settings.ini').write_text('[DEFAULT]\n')
    lab = read_lab(path)
    write_rows(lab.data/'gold.jsonl', gold or [dict(query=f'question {i}', passage=f'answer {i}', label=1) for i in range(6)])
    if corpus: write_rows(lab.data/'corpus.jsonl', corpus)
    if qrels: (lab.data/'qrels.tsv').write_text(qrels)
    for name,found in hits.items(): finished(lab, name, found)
    return lab

def finished(lab, name, found):
    "A completed run that found this, in this gold"
    task = current_gold(lab)
    found = {s: {q: [(d, 1 - i/9) for i,d in enumerate(ds)] for q,ds in o.items()} for s,o in dict(tuned=found, base=near(3, 0)).items()}
    scores, run = score_rankings(task, found), mock_run(lab, name, {})
    write_rows(run/'eval'/'per_query.jsonl', query_lines(task, scores, found))
    write_json(run/'eval'/'gold_metrics.json', scores.to_dict())
    return run

def near(*steps): return {f'q{i}': [f'd{(i + s)%6}' for s in steps] for i in range(6)}

@pytest.fixture
def lab(tmp_path): return lab_of(tmp_path/'lab', dict(exp_01=near(0, 2), exp_02=near(1, 0)))

def judge_all(lab, judge='ada', right=lambda q, d: d == (q + 1)%6):
    session = open_session(lab, judge=judge)
    while o := session.next():
        q, d = int(o.query.split()[1]), int(o.document.split()[1])
        session.say(o, 'relevant' if right(q, d) else 'not')
    return session

def said(i, judge='ada', grade='relevant'): return Judgement('q', 'd', f'{i:016x}', 'd'*16, grade, judge, '2026-01-01T00:00:00+00:00')

# nothing is lost

def test_what_was_said_survives_a_kill_at_any_moment(lab):
    told = 0
    for round in range(8):
        read, write = os.pipe()
        if not (pid := os.fork()):
            try:
                for i in range(10_000):
                    keep_judgement(lab, said(10_000*round + i))
                    os.write(write, b'.')
            finally: os._exit(0)
        for _ in range(round + 1): os.read(read, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(write)
        told += round + 1
        while more := len(os.read(read, 4096)): told += more
        os.close(read)
        with judgements_file(lab).open('ab') as f: f.write(b'{"query_id":"q","document')  # and torn besides
    kept = read_judgements(lab)
    assert told <= len(kept) <= told + 8 and len({o.query for o in kept}) == len(kept)

@pytest.mark.parametrize('line', ['[]', '{"query_id":"q"}', 'ada: relevant', json.dumps(dict(query_id='q', document_id='d', query='q', document='d', grade='good', judge='a', when=''))])
def test_a_line_that_is_no_judgement_is_named(lab, line):
    keep_judgement(lab, said(0))
    with judgements_file(lab).open('a') as f: f.write(line + '\n')
    with pytest.raises(LabError, match=r'judgements.jsonl:2: not a judgement \('): open_session(lab)

def test_sessions_continue_and_judges_do_not_see_each_other(lab):
    ada = open_session(lab, judge='ada')
    first = ada.next()
    ada.say(first, 'relevant')
    assert open_session(lab, judge='ada').next() == ada.next() != first
    bob = open_session(lab, judge='bob')
    assert bob.next().query == first.query and bob.next().document == first.document
    bob.say(bob.next(), 'skip')
    assert bob.next() == ada.next()
    assert bob.undo().document == first.document and bob.next().document == first.document

# the terminal

def press(monkeypatch, keys):
    from embed_lab.cli import lab_commands
    keys = iter(keys)
    monkeypatch.setattr(lab_commands.typer, 'getchar', lambda: next(keys))

def command(lab, *args, monkeypatch):
    monkeypatch.chdir(lab.path)
    return CliRunner().invoke(app, ['judge', *args])

def test_keys_judge_and_ranks_are_hidden_until_asked_for(lab, monkeypatch):
    press(monkeypatch, 'yuNwpq')
    res = command(lab, '--judge', 'ada', monkeypatch=monkeypatch)
    assert res.exit_code == 0, res.output
    kept = read_judgements(lab)
    assert [(o.grade, o.saw_ranks) for o in kept] == [('relevant', False), ('undone', False), ('not', False), ('partly', True)]
    before, after = res.stdout.split('ranked  ', 1)
    assert 'exp_01' not in before and 'exp_02 1' in after and '2 judgements in this session; graded so far: ada 2' in after

def test_a_document_cannot_give_orders_to_the_terminal(tmp_path, monkeypatch):
    evil = 'answer \x1b]0;owned\x07\x1b[2J\u202e <b>1</b>\n' + 'line\n'*40 + 'the end'
    gold = [dict(query=f'question {i}\x1b[31m', passage=evil if i == 1 else f'answer {i}', label=1) for i in range(6)]
    lab = lab_of(tmp_path/'lab', dict(exp_01=near(1)), gold)
    press(monkeypatch, 'w' + 'n'*5 + 'm' + 'q')
    out = command(lab, monkeypatch=monkeypatch).stdout
    assert '\x1b' not in out and '\x07' not in out and '\u202e' not in out and '\\x1b[2J' in out
    assert '… 26 more lines: m' in out or 'the end' in out
    from embed_lab.evaluation.judging import judging_box
    session = open_session(lab, judge='bob')
    pages = set()
    box = judging_box(session)
    for _ in range(6):
        pages.add(box.children[0].value)
        box.children[1].children[3].click()
    assert any('&lt;b&gt;1&lt;/b&gt;' in o for o in pages) and not any('<b>1</b>' in o for o in pages)

def test_without_a_terminal_it_says_where_to_go(lab, monkeypatch):
    from embed_lab.cli import lab_commands
    def none(): raise OSError(6, 'No such device or address', '/dev/tty')
    monkeypatch.setattr(lab_commands.typer, 'getchar', none)
    res = command(lab, monkeypatch=monkeypatch)
    assert res.exit_code == 2 and 'emb judge --notebook judge.ipynb' in res.stderr
    assert command(lab, '--notebook', 'judge.ipynb', monkeypatch=monkeypatch).exit_code == 0
    assert command(lab, '--notebook', 'judge.ipynb', monkeypatch=monkeypatch).stderr.startswith('emb: judge.ipynb is already there')

def test_json_says_what_is_left(lab, monkeypatch):
    said = json.loads(command(lab, '--json', '--judge', 'ada', monkeypatch=monkeypatch).stdout)
    assert said['left'] == 18 and said['systems'] == ['exp_01', 'base, untuned', 'exp_02'] and len(said['next']) == 10
    assert said['next'][0]['value'] >= said['next'][-1]['value'] > 0 and not judgements_file(lab).exists()

# a new version

def test_finish_makes_another_gold_and_touches_no_run(lab, monkeypatch):
    from embed_lab.evaluation.compare import compare
    from embed_lab.runs.looks import count_looks
    from embed_lab.runs.results import read_run, verify_runs
    judge_all(lab)
    runs = [lab.results/o for o in ('exp_01', 'exp_02')]
    def recorded(): return {p: p.read_bytes() for run in runs for p in (run/'run.json', *(run/'eval').iterdir())}
    before, gold = recorded(), (lab.data/'gold.jsonl').read_bytes()
    res = json.loads(command(lab, '--finish', '--json', monkeypatch=monkeypatch).stdout)
    assert recorded() == before and not verify_runs(lab, {o: read_run(o) for o in runs})
    assert res['added'] == dict(relevant=6, **{'not': 12}) and res['systems']['exp_02']['place_after'] == 1 < res['systems']['exp_02']['place_before']
    assert (lab.data/'gold.jsonl').read_bytes().startswith(gold) and (lab.data/'earlier_gold'/res['was'][7:15]/'gold.jsonl').read_bytes() == gold
    again = [json.loads(o) for o in (runs[1]/'rescored'/res['gold'][7:15]/'per_query.jsonl').read_text().splitlines()]
    truth = per_query(current_gold(lab).qrels, near(1, 0))
    assert {o['query_id']: o['tuned']['scores']['ndcg@10'] for o in again} == {q: o['ndcg@10'] for q,o in truth.items()}
    assert count_looks(lab, [res['gold']])[0].times == 2
    finished(lab, 'exp_03', near(1, 0)) # judged by the new gold
    with pytest.raises(LabError, match='cannot be compared'): compare(lab, ['exp_02', 'exp_03'])
    again = command(lab, '--finish', monkeypatch=monkeypatch)
    assert again.exit_code == 2 and 'no judgement that gold lacks' in again.stderr

def test_judgements_go_where_gold_has_its_own(tmp_path):
    from embed_lab.data.check import check_folder
    corpus = [dict(_id=f'd{i}', text=f'answer {i}', title='T') for i in range(6)]
    rows = [dict(query=f'question {i}', passage=f'T\nanswer {i}', label=1, query_id=f'q{i}') for i in range(6)]
    qrels = 'query-id\tcorpus-id\tscore\n' + ''.join(f'q{i}\td{i}\t2\n' for i in range(6))
    for name,given in dict(rows=None, qrels=qrels.rstrip('\n')).items():
        lab = lab_of(tmp_path/name, dict(exp_01=near(1, 0)), rows, corpus, given)
        session = open_session(lab, judge='ada')
        while o := session.next(): session.say(o, 'partly' if o.candidate.document == f"d{(int(o.candidate.query[1:]) + 1)%6}" else 'not')
        finish(lab)
        high = 2 if given else 1
        assert current_gold(lab).qrels == {f'q{i}': {f'd{i}': high, f'd{(i + 1)%6}': high//2, f'd{(i + 3)%6}': 0} for i in range(6)}
        assert 'FAIL' not in check_folder(lab.data).verdict().upper()

def test_gold_grows_in_rounds_and_may_be_zipped(lab):
    import gzip
    gold = lab.data/'gold.jsonl'
    (lab.data/'gold.jsonl.gz').write_bytes(gzip.compress(gold.read_bytes()))
    gold.unlink()
    judge_all(lab)
    first = finish(lab)
    finished(lab, 'exp_03', near(4, 1))
    assert len(judge_all(lab).said) == 6
    second = finish(lab)
    assert (second.was, second.added) == (first.gold, {'not': 6}) and not gold.exists()
    assert {*os.listdir(lab.data/'earlier_gold')} == {o.was[7:15] for o in (first, second)}
    assert {*os.listdir(lab.results/'exp_01'/'rescored')} == {o.gold[7:15] for o in (first, second)}
    assert {*os.listdir(lab.results/'exp_03'/'rescored')} == {second.gold[7:15]}
    assert all(len(o) == 5 for o in current_gold(lab).qrels.values())

def test_a_kill_before_the_last_step_leaves_the_old_gold(lab, monkeypatch):
    from embed_lab.evaluation import versions
    judge_all(lab)
    gold, write = (lab.data/'gold.jsonl').read_bytes(), versions.write_atomic
    def killed(path, content):
        if path == lab.data/'gold.jsonl': raise KeyboardInterrupt
        write(path, content)
    monkeypatch.setattr(versions, 'write_atomic', killed)
    with pytest.raises(KeyboardInterrupt): finish(lab)
    assert (lab.data/'gold.jsonl').read_bytes() == gold
    monkeypatch.undo()
    assert finish(lab).added['relevant'] == 6

def test_judges_who_differ_are_named_and_the_stricter_counts(lab):
    judge_all(lab)
    bob = open_session(lab, judge='bob\x1b[31m')
    for _ in range(18): bob.say(bob.next(), 'not')
    both, = agreements(standing(read_judgements(lab)))
    assert (both.n, both.same) == (18, 12) and both.kappa.mean == 0
    res = finish(lab)
    assert len(res.conflicts) == 6 and res.added == {'not': 18}
    assert 'judges differ on 6 pairs' in (text := '\n'.join(res.lines())) and 'not counts; and 3 more' in text and '\x1b' not in text

def test_of_three_judges_the_middle_counts():
    words = {('q', 'd'): {k: said(0, k, g) for k,g in dict(a='relevant', b='not', c='partly', d='skip').items()}}
    assert resolved(words)['q', 'd'].grade == 'partly' and resolved({('q', 'd'): {'d': said(0, 'd', 'skip')}}) == {}

def test_judgements_outlive_a_new_order_of_the_data(lab):
    judge_all(lab)
    rows = [json.loads(o) for o in (lab.data/'gold.jsonl').read_text().splitlines()]
    write_rows(lab.data/'gold.jsonl', [*reversed(rows[1:]), rows[0] | dict(passage='another answer')]) # and one text is gone
    for o in ('exp_01', 'exp_02'): finished(lab, o, near(1, 2))
    res = finish(lab)
    assert any('of texts that data/ does not have now are left out' in o for o in res.notes)
    task = current_gold(lab)
    for q,ds in task.qrels.items():
        for d in (d for d,g in ds.items() if g > 0):
            i, j = task.queries[q].split()[1], task.corpus[d].split()[1]
            assert j in (i, 'answer') or int(j) == (int(i) + 1)%6

def test_runs_that_cannot_be_judged_are_named(lab, tmp_path):
    path = lab.results/'exp_02'/'eval'/'per_query.jsonl'
    path.write_text(path.read_text().replace('"hits":[', '"hits":[7,'))
    assert 'exp_02 (results/exp_02/eval/per_query.jsonl: not the hits of queries' in open_session(lab).found.notes[0]
    with pytest.raises(LabError, match='no run can be judged by data/: exp_02'): found_systems(lab, ['exp_02'])
    empty = tmp_path/'empty'
    empty.mkdir()
    (empty/'settings.ini').write_text('[DEFAULT]\n')
    with pytest.raises(LabError, match='no run matches'): found_systems(read_lab(empty))

# a language model

@pytest.fixture
def chat(monkeypatch):
    "A server whose model grades by the number of the question; and what it was asked"
    from embed_lab.models import endpoint
    from support import serving
    asked = []
    def answer(path, body, head):
        text = body['messages'][-1]['content']
        asked.append(text)
        q = int(text.split('question ')[1].split()[0])
        return 200, dict(choices=[dict(message=dict(content=json.dumps(dict(grade='relevant' if q%4 < 2 else 'not'))))])
    monkeypatch.setattr(endpoint, 'sleep', lambda s: None)
    monkeypatch.setenv('EMB_CHAT_MODEL', 'tiny')
    with serving(answer) as at:
        monkeypatch.setenv('EMB_CHAT_URL', at)
        yield asked

@pytest.fixture
def wide(tmp_path):
    "A lab with 100 unjudged pairs"
    gold = [dict(query=f'question {i}', passage=f'answer {i}', label=1) for i in range(50)]
    def near(*steps): return {f'q{i}': [f'd{(i + s)%50}' for s in steps] for i in range(50)}
    lab = lab_of(tmp_path/'wide', {}, gold)
    task = current_gold(lab)
    for name,hits in dict(exp_01=near(0, 2), exp_02=near(1, 0)).items():
        found = {s: {q: [(d, 1.) for d in ds] for q,ds in o.items()} for s,o in dict(tuned=hits, base=near(0, 2)).items()}
        scores, run = score_rankings(task, found), mock_run(lab, name, {})
        write_rows(run/'eval'/'per_query.jsonl', query_lines(task, scores, found))
        write_json(run/'eval'/'gold_metrics.json', scores.to_dict())
    return lab

def judge_some(lab, n):
    session = open_session(lab, judge='ada')
    for _ in range(n):
        o = session.next()
        session.say(o, 'relevant' if int(o.query.split()[1])%4 < 3 else 'not')

def test_a_model_judges_only_beside_people(wide, chat, monkeypatch):
    judge_some(wide, 20)
    res = command(wide, '--model', '10', monkeypatch=monkeypatch)
    assert res.exit_code == 2 and 'they have graded 20 pairs, and 30 are needed' in res.stderr and not chat

def test_a_model_is_measured_first_and_counts_only_when_told(wide, chat, monkeypatch):
    judge_some(wide, 40)
    said = json.loads(command(wide, '--model', '10', '--json', monkeypatch=monkeypatch).stdout)
    assert said['graded'] == 10 and said['agreement']['pairs'] == 40 and said['agreement']['same'] < 40
    assert said['agreement']['kappa']['low'] < said['agreement']['kappa']['mean'] <= said['agreement']['kappa']['high'] and len(chat) == 50
    assert sum(o.model for o in read_judgements(wide)) == 50 and len(standing(read_judgements(wide))) == 40
    left = open_session(wide, judge='ada').left
    assert left == 60
    assert json.loads(command(wide, '--model', '5', '--json', monkeypatch=monkeypatch).stdout)['graded'] == 5 and len(chat) == 55
    people = sum(finish(wide).added.values())
    with_model = finish(wide, models=True)
    assert people == 40 and sum(with_model.added.values()) == 15 and '15 pairs were graded by a language model alone' in with_model.notes
