"What the data doctor must never miss: arbitrary bytes, planted duplicates, and real data sets as their READMEs describe them"
import gzip, random, subprocess, sys
from pathlib import Path
import pytest
from hypothesis import given, settings, strategies as st
from embed_lab.data.check import check_folder
from embed_lab.data.rows import Doc, Row, line_flaws, row_rules
from embed_lab.data.leaks import leak_rules
from embed_lab.data.reading import longest_line, Scan, read_rows, scan_blocks
from embed_lab.data.files import write_rows
from embed_lab.lab import LabError
from embed_lab.data.texts import Texts, jaccard, near_duplicates, normalised

shared = Path(__file__).resolve().parents[2]/'shared'/'data'
needs_shared = pytest.mark.skipif(not shared.is_dir(), reason='the real data sets for development are not beside this checkout')
many = settings(max_examples=300, deadline=None, derandomize=True)
some = settings(max_examples=60, deadline=None, derandomize=True)

@pytest.fixture(scope='module')
def home(tmp_path_factory): return tmp_path_factory.mktemp('check')

# reading

fragments = st.sampled_from([b'{"query": "a", "passage": "b", "label": 1}', b'{"query":"a","passage":"b","label":0}', b'\n', b'\r\n', b'\xef\xbb\xbf', b'\xff\xfe', b'\0', b'{', b'}', b'"', b'\\', b'\\u200b',
    b'\\ud800', b'{"query": "a",\n"passage": "b", "label": 1}', b'NaN', b'[1, 2]', b'null', b' ', b'"label": true', b'{"query": "a", "query": "b", "passage": "c", "label": 1}', b',', b'{"query": " ", "passage": "b", "label": 1}',
    b'{"query": "a", "passage": "b", "label": 1, "shelf": {"x": "\xff"}}', b'[' * 2000, b'{"query": "a", "passage": "b", "label": 1, "negatives": [3]}', '{"query": "é\u200b", "passage": "b", "label": 1}'.encode()])

@pytest.mark.parametrize('kind', [Row, Doc])
@given(parts=st.lists(st.one_of(fragments, st.binary(max_size=12)), max_size=12))
@many
def test_the_reader_never_crashes_and_never_loses_a_line(home, kind, parts):
    path = home/'bytes.jsonl'
    path.write_bytes(b''.join(parts))
    scan = Scan(path, kind)
    good = sum(len(o.rows) for o in scan_blocks(scan))
    assert good == scan.good and all(k[0] in row_rules for k in scan.flaws)
    if not scan.failed() and scan.good and kind is Row: assert len(read_rows(path)) == good
    elif kind is Row:
        with pytest.raises(LabError): read_rows(path)

@given(lines=st.lists(fragments.filter(lambda o: b'\n' not in o and not o.startswith(b'\xef') and o not in (b'\xff\xfe', b'\0')), min_size=1, max_size=8))
@many
def test_the_quick_look_and_the_close_one_agree(home, lines):
    "What is seen at once must be what is seen line by line"
    path = home/'quick.jsonl'
    path.write_bytes(b''.join(o + b'\n' for o in lines))
    scan = Scan(path)
    list(scan_blocks(scan))
    slow = [(rule, key) for o in lines for rule,key,_ in line_flaws(o, Row)[1]]
    assert {k: v.count for k,v in scan.flaws.items()} == {k: slow.count(k) for k in slow}

@pytest.mark.parametrize('line, rule, key', [
    (b'{"query": "a", "passage": "b", "label": "1"}', 'label', 'label'), (b'{"query": "a", "passage": "b", "label": true}', 'label', 'label'), (b'{"query": "a", "passage": "b", "label": 0.5}', 'label', 'label'),
    (b'{"query": "a", "passage": "b", "label": NaN}', 'not-json', ''), (b'{"query": "a", "label": 1}', 'missing', 'passage'), (b'{"query": "", "passage": "b", "label": 1}', 'empty', 'query'),
    ('{"query": "a", "passage": "\u3000 ", "label": 1}'.encode(), 'empty', 'passage'), (b'{"query": "a", "passage": "\\n\\t", "label": 1}', 'empty', 'passage'), (b'{"query": null, "passage": "b", "label": 1}', 'type', 'query'),
    (b'{"query": {"text": "a"}, "passage": "b", "label": 1}', 'type', 'query'), (b'{"query": "a", "passage": "b", "label": 1, "label": 0}', 'twice', 'label'), (b'{"query": "a", "passage": "b", "label": 1, "shelf": 3}', 'unknown', 'shelf'),
    (b'{"query": "a\xff", "passage": "b", "label": 1}', 'not-json', ''), (b'{"query": "a", "passage": "b", "label": 1, "shelf": "\xff"}', 'not-json', ''), (b'', 'blank', ''), (b'{"query": "a\\u200b", "passage": "b", "label": 1}', 'invisible', 'query'),
    ('{"query": "a\u202e", "passage": "b", "label": 1}'.encode(), 'invisible', 'query'), (b'{"query": "a", "passage": "\\u001b[2J", "label": 1}', 'invisible', 'passage'), (b'{"query": "a", "passage": "b", "label": 1, "score": "high"}', 'type', 'score'),
    (b'{"query": "a", "passage": "b", "label": 1, "tags": [1]}', 'type', 'tags'), (b'[{"query": "a", "passage": "b", "label": 1}]', 'not-json', ''), (b'{"query": "a", "passage": "b", "l\\u0061bel": 1, "label": 0}', 'twice', 'label')])
@pytest.mark.parametrize('zipped', [False, True])
def test_every_flaw_is_found_among_sound_lines_with_its_place(home, line, rule, key, zipped):
    sound = b'{"query": "a", "passage": "b", "label": 1}\n' * 3000
    path = home/('one.jsonl.gz' if zipped else 'one.jsonl')
    path.write_bytes(gzip.compress(sound + line + b'\n' + sound) if zipped else sound + line + b'\n' + sound)
    scan = Scan(path)
    list(scan_blocks(scan))
    assert [(k, v.count, v.first[0][0]) for k,v in scan.flaws.items()] == [((rule, key), 1, 3001)]

def test_flaws_are_counted_and_capped(home):
    path = home/'all.jsonl'
    path.write_bytes(b'{"query": "a", "passage": "b", "label": "1"}\n' * 9000)
    scan = Scan(path)
    assert not list(o for b in scan_blocks(scan) for o in b.rows)
    [seen] = scan.flaws.values()
    assert seen.count == 9000 and [i for i,_ in seen.first] == [1, 2, 3, 4, 5]

def scanned(path, text):
    path.write_bytes(text)
    scan = Scan(path)
    return [r.query for o in scan_blocks(scan) for r in o.rows], {k: (v.count, v.first[0]) for k,v in scan.flaws.items()}

sound = b'{"query":"a","passage":"b","label":1}\n'

def test_a_line_holds_one_whole_object(home):
    "Neither two objects on a line nor one on two lines are taken for rows, although a decoder of blocks would take both"
    half = sound.replace(b'\n', b' ') + sound + sound.replace(b'",', b'",\n', 1)
    rows, flaws = scanned(home/'half.jsonl', half)
    assert rows == [] and flaws['not-json', ''][0] == 3

def test_a_line_that_is_too_long_is_skipped_and_counted(home):
    long = b'{"query":"long","passage":"' + b'b'*(longest_line + 9) + b'","label":1}\n'
    assert scanned(home/'long.jsonl', sound + long + sound) == (['a', 'a'], {('unreadable', 'length'): (1, (2, 'a line of more than 16 MiB, which is not read; write one object a line'))})
    assert scanned(home/'long.jsonl', long + sound)[1]['unreadable', 'length'][1][0] == 1

def test_files_in_odd_shapes(home):
    assert scanned(home/'odd.jsonl', b'') == ([], {})
    assert scanned(home/'odd.jsonl', '{"query": "a"}\n'.encode('utf-16'))[1]['unreadable', ''][1] == (1, 'UTF-16 or UTF-32; save the file as UTF-8')
    assert list(scanned(home/'odd.jsonl', sound.replace(b'}', b',"negatives":[" "],"score":null}'))[1]) == [('empty', 'negatives')]

def test_unknown_keys_stop_joining_the_decoder_at_fifty(home):
    "More keys than that are data: such a file is read line by line, with the same result"
    keys = b''.join(b',"k%d":%d' % (i, i) for i in range(70))
    rows, flaws = scanned(home/'wide.jsonl', sound.replace(b'}', keys + b'}') * 5000)
    assert len(rows) == 5000 and sum(n for n,_ in flaws.values()) == 70 * 5000

@pytest.mark.parametrize('value', [b'1e999', b'1'*5000, b'"\xff"', b'{"no": 1e400}', b'[3, 1E+500]'])
def test_what_no_reader_takes_is_found_in_an_unknown_key_too(home, value):
    "Values of unknown keys are not decoded at full speed, and a run decodes them all the same"
    shelved = sound.replace(b'}', b',"shelf":2}') * 6000
    bad = sound.replace(b'}', b',"shelf":' + value + b'}')
    rows, flaws = scanned(home/'shelf.jsonl', shelved + bad + sound + shelved)
    assert len(rows) == 12001 and flaws['not-json', ''][:1] == (1,) and flaws['not-json', ''][1][0] == 6001
    with pytest.raises(LabError, match='shelf.jsonl:6001: '): read_rows(home/'shelf.jsonl')

@pytest.mark.parametrize('leak', leak_rules, ids=lambda o: o.name)
def test_a_leak_in_words_agrees_with_its_number(leak):
    one, two = leak.words(1, 'train').split()[0], leak.words(2, 'train').split()[0]
    assert (one, two) in [('is', 'are'), ('has', 'have'), ('repeats', 'repeat'), ('belongs', 'belong'), ('nearly', 'nearly')]

def test_counts_agree_with_their_nouns(home):
    res = write(home, train=unrelated(9, 1) + [row('reset', 'hold the button'), row('Reset!', 'hold the button')], dev=unrelated(9, 2), gold=unrelated(9, 3) + [row('reset', 'unplug it', '1')])
    said = {o.rule: o.says for o in res.findings}
    assert said['duplicate'].startswith('1 row of train repeats an earlier one')
    assert said['schema: label'] == '1 line with a label other than 0 or 1: `label` is "1"; write 1 (relevant) or 0 (not)'
    assert res.verdict() == 'not sound, with 1 error to fix and 2 warnings to look at'

def test_a_report_shows_itself_without_the_page(home):
    "`check` needs neither the page nor plotly, and a notebook still gets HTML"
    write(home, train=unrelated(3, 1), dev=unrelated(3, 2), gold=unrelated(3, 3))
    code = ("import sys; from embed_lab.data.check import check_folder; html = check_folder(sys.argv[1])._repr_html_(); "
        "assert '<table>' in html; print(*[o for o in ('embed_lab.data.page', 'plotly', 'torch') if o in sys.modules])")
    res = subprocess.run([sys.executable, '-c', code, str(home)], capture_output=True, text=True)
    assert (res.returncode, res.stdout.strip()) == (0, ''), res.stderr

# duplicates

word = st.text('abcdefghij', min_size=1, max_size=2)

@given(texts=st.lists(st.lists(word, min_size=1, max_size=9).map(' '.join), min_size=2, max_size=40), threshold=st.sampled_from([.6, .75, .8, 1.]))
@some
def test_near_finds_every_pair_at_or_above_the_threshold_and_no_other(texts, threshold):
    collection = Texts()
    forms = collection.normal(collection.add(texts))
    res = near_duplicates(collection, threshold)
    pairs = {*map(tuple, res.pairs.tolist())}
    for i,a in enumerate(texts):
        for j,b in enumerate(texts[:i]):
            found = res.same[forms[i]] == res.same[forms[j]] or tuple(sorted((res.same[forms[i]], res.same[forms[j]]))) in pairs
            assert found == (jaccard(a, b) >= threshold - 1e-9), (a, b)

@given(text=st.text(min_size=1, max_size=40))
@many
def test_normal_form_is_stable_and_ignores_case_punctuation_and_space(text):
    form = normalised(text)
    assert form and normalised(form) == form
    if any(c.isalnum() for c in form): assert normalised(f'  {text}\t!?') == form

def write(home, **splits):
    for k in ('train', 'dev', 'gold'): (home/f'{k}.jsonl').unlink(missing_ok=True)
    for k,rows in splits.items(): write_rows(home/f'{k}.jsonl', rows)
    (home/'settings.ini').write_text('[DEFAULT]\ndata = .\n')
    return check_folder(home)

def row(q, p, label=1, **kw): return dict(query=q, passage=p, label=label, **kw)

def unrelated(n, seed):
    draw = random.Random(seed)
    def text(k): return ' '.join(''.join(draw.choices('bcdfghjklmnprstvwz', k=5)) for _ in range(k))
    return [row(text(6), text(12)) for _ in range(n)]

@pytest.mark.parametrize('train, gold, leak, level', [
    (row('Reset my router', 'hold the button'), row('reset  my ROUTER?', 'Hold the button!'), 'pair', 'fail'),
    (row('Reset my router', 'hold the button'), row('reset my router', 'unplug it'), 'query', 'fail'),
    (row('Reset my router', 'hold the button', 0), row('reset my router', 'unplug it'), 'query', 'fail'),
    (row('Reset my router', 'hold the button'), row('start over', 'hold the button'), 'passage', 'fail'),
    (row('Reset my router', 'Hold the button'), row('start over', 'hold the button.'), 'passage retyped', 'warn'),
    (row('how do I reset my old router', 'hold the small button for ten seconds'), row('how do I reset my router', 'hold the button for ten seconds'), 'near pair', 'warn'),
    (row('a question', 'an answer', group='g1'), row('something else', 'quite another', group='g1'), 'group', 'fail')])
def test_a_single_leak_among_unrelated_rows_is_found(home, train, gold, leak, level):
    res = write(home, train=unrelated(60, 1) + [train] + unrelated(30, 2), dev=unrelated(30, 3), gold=unrelated(40, 4) + [gold])
    found = [o for o in res.findings if o.rule == f'leak: {leak}']
    assert [o.level for o in found] == [level] and found[0].count == 1
    assert found[0].examples[0]['place'].endswith('gold.jsonl:41') and found[0].examples[0]['other'].endswith('train.jsonl:61')
    assert res.clean == (level != 'fail')

def test_a_shared_distractor_is_no_leak(home):
    far = row('make tea', 'hold the button', 0)
    res = write(home, train=unrelated(20, 1) + [far], dev=unrelated(9, 2), gold=unrelated(9, 3) + [row('reset', 'hold the button')])
    assert [o.rule for o in res.findings] == ['no corpus']
    res = write(home, train=unrelated(20, 1) + [row('reset', 'hold the button')], dev=unrelated(9, 2), gold=unrelated(9, 3) + [row('make tea', 'boil water', 1, negatives=['hold the button'])])
    assert [o.rule for o in res.findings] == ['no corpus']

def test_many_near_pairs_fail_where_a_few_warn(home):
    train, draw = unrelated(400, 1), random.Random(0)
    def edited(o): return row(o['query'] + ' so', o['passage'] + ' then')
    few = write(home, train=train, dev=unrelated(9, 7), gold=unrelated(200, 2) + [edited(o) for o in train[:5]])
    assert few.clean and 'leak: near pair' in [o.rule for o in few.findings]
    assert not write(home, train=train, gold=unrelated(50, 2) + [edited(o) for o in train[:50]]).clean

def test_contradictions_and_false_negatives(home):
    res = write(home, train=[row('reset', 'hold the button'), row('Reset!', 'hold the button', 0), row('dim', 'turn the big ring to the left and wait', 1, negatives=['turn the big ring to the left and wait!', 'boil water'])], gold=unrelated(9, 3))
    assert {o.rule: (o.level, o.count) for o in res.findings if 'miss' not in o.rule and o.rule != 'no corpus'} == {'conflict': ('fail', 1), 'false negative': ('warn', 1)}

def test_judgements_are_doctored(home):
    write_rows(home/'corpus.jsonl', [dict(_id='d1', text='hold the button'), dict(_id='d2', text='hold the button'), dict(_id='d3', text='turn the ring')])
    (home/'qrels.tsv').write_text('query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td9\t1\nq2\td3\t-1\nq9\td3\t1\n')
    try: res = write(home, train=unrelated(9, 1), dev=unrelated(9, 2), gold=[row('reset', 'hold the button', query_id='q1'), row('dim', 'turn the ring', query_id='q2'), row('tea', 'turn the ring', query_id='q3')])
    finally:
        for o in ('corpus.jsonl', 'qrels.tsv'): (home/o).unlink()
    assert {o.rule: o.level for o in res.findings if o.rule.startswith('qrels')} == {'qrels: no document': 'fail', 'qrels: no query': 'warn', 'qrels: grade': 'warn', 'qrels: nothing relevant': 'warn', 'qrels: unjudged query': 'warn', 'qrels: copy': 'warn'}

# real data

@needs_shared
@pytest.mark.parametrize('name', ['nl2bash', 'medquad', 'oewn', 'pquad_fa'])
def test_honest_splits_come_out_as_such(name):
    res = check_folder(shared/name)
    assert res.clean, [str(o) for o in res.findings if o.level == 'fail']
    assert not [o for o in res.leaks if o['leak'] in ('pair', 'query', 'passage', 'group') and o['rows']]

@needs_shared
def test_the_random_row_split_is_refused_and_says_by_how_much():
    res = check_folder(shared/'xquad_en_row_split')
    gold, train = read_rows(shared/'xquad_en_row_split'/'gold.jsonl'), {o['passage'] for o in read_rows(shared/'xquad_en_row_split'/'train.jsonl')}
    n = sum(o['passage'] in train for o in gold)
    assert not res.clean and any(f'{n} of {len(gold)} gold rows have their passage in train' in o.says and 'corpus = fixed' in o.says for o in res.findings if o.level == 'fail') and n > 300

@needs_shared
@pytest.mark.parametrize('corpus', ['open', 'fixed'])
def test_banking77_is_right_as_fixed_and_refused_as_open(tmp_path, monkeypatch, corpus):
    (tmp_path/'settings.ini').write_text(f'[DEFAULT]\ncorpus = {corpus}\n')
    monkeypatch.chdir(tmp_path)
    res = check_folder(shared/'banking77')
    said = [o.says for o in res.findings if o.level == 'fail'] if corpus == 'open' else [o.says for o in res.findings if o.level == 'note']
    assert res.clean == (corpus == 'fixed') and '3,051 of 3,051 gold rows have their passage in train' in ' '.join(said)
    assert ('write `corpus = fixed`' if corpus == 'open' else 'scores hold for known passages alone') in ' '.join(said)

@pytest.mark.parametrize('text, warned', [('<p>{}</p>', True), ('{} &amp; more', True), ('see <a href="x?a=1&b=2">{}</a>', True), ('{} < 3 && x > 2', False), ('AT&T {}; vector<int>', False)])
def test_texts_with_the_tags_of_a_page_are_named(text, warned, tmp_path):
    write_rows(tmp_path/'train.jsonl', [dict(query=f'ask{i} of{i}', passage=text.format(f'say{i} that{i}'), label=1) for i in range(30)])
    said = [o for o in check_folder(tmp_path).findings if o.rule == 'markup']
    assert [o.count for o in said] == ([30] if warned else [])
