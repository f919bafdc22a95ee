"What `split` promises of any rows: no leak, no row lost, no byte changed, nothing moved by what is added"
import gzip, os, re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np, pytest
from embed_lab.data import split as module
from embed_lab.data.check import check_folder, leaks_between
from embed_lab.lab import LabError
from embed_lab.data.folder import read_corpus, read_folder
from embed_lab.data.leaks import Nearness, table_of
from embed_lab.data.reading import read_rows
from embed_lab.data.files import write_rows
from embed_lab.data.split import largest_judged_component, narrow_search, split_rows, split_names, write_corpus, write_split
from embed_lab.data.task import retrieval_task, task_hashes
from support import root

from hypothesis import HealthCheck, event, given, settings, strategies as st

sixty = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
real = root.parent/'shared'/'data'

def quiet(n): return [dict(query=f'q{i} r{i} s{i}', passage=f't{i} u{i} v{i}', label=1) for i in range(n)]

words = st.sampled_from([f'w{i}' for i in range(30)])
text = st.tuples(st.lists(words, min_size=1, max_size=7), st.sampled_from(['{}', '{}!', '¿{}', 'THE {}', '{}  .']), st.booleans()).map(
    lambda o: (o[1].format(' '.join(o[0])).upper() if o[2] else o[1].format(' '.join(o[0]))))
extra = st.fixed_dictionaries({}, optional=dict(group=st.integers(0, 40) | st.sampled_from(['1', 'a']), negatives=st.lists(text, max_size=2),
    score=st.sampled_from([0, 1, 2.5, None]), thread=st.integers(0, 40) | st.none()))
row = st.tuples(text, text, st.integers(0, 1), extra).map(lambda o: dict(query=o[0], passage=o[1], label=o[2]) | o[3])
noise = st.lists(row, min_size=1, max_size=18)

def dealt(folder, rows, **kw):
    "A file, its split, and where each line went"
    write_rows(folder/'all.jsonl', rows)
    split = split_rows(folder/'all.jsonl', .3, .3, **kw)
    return split, {i: k for k,v in split.rows.items() for i in v.tolist()}

def leaking(paths, corpus, threshold=.8):
    table = table_of({o.stem: read_rows(o) for o in paths})
    return [(o['judged'], o['leak'], o['rows']) for o in leaks_between(table, Nearness(table, threshold), corpus) if o['rows'] and o['level'] != 'note']


@pytest.mark.parametrize('corpus', ['open', 'fixed'])
@pytest.mark.parametrize('threshold', [.5, .8, 1])
@sixty
@given(noise=noise)
def test_nothing_leaks_and_nothing_is_lost(corpus, threshold, noise):
    rows = noise + quiet(25)
    with TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        try: split, _ = dealt(tmp, rows, corpus=corpus, threshold=threshold)
        except LabError as e:
            assert 'would' in str(e)
            return event('refused')
        event('split')
        paths = write_split(split, tmp/'to')
        assert not leaking(paths, corpus, threshold)
        lines = (tmp/'all.jsonl').read_bytes().splitlines()
        written = [o.read_bytes().splitlines() for o in paths]
        assert Counter(lines) == Counter(o for w in written for o in w)
        for k,w in zip(split_names, written): assert w == [lines[i-1] for i in split.rows[k]]
        docs, rows = read_corpus(tmp/'to'/'corpus.jsonl'), [r for o in paths for r in read_rows(o)]
        assert sorted(docs.values()) == sorted({t for r in rows for t in (r['passage'], *r.get('negatives', ()))})
        judged = [r for o in paths[1:] for r in read_rows(o)]
        assert {**dict.fromkeys(split_names, 0)} | split.relevant == {k: sum((r['score'] if r.get('score') is not None else r['label']) > 0 for r in read_rows(o)) for k,o in zip(split_names, paths)}
        assert judged


@sixty
@given(noise=noise)
def test_a_key_named_by_the_owner_is_not_split(noise):
    with TemporaryDirectory() as tmp:
        try: split, to = dealt(Path(tmp), noise + quiet(25), by='thread', corpus='fixed')
        except LabError as e:
            assert 'would' in str(e) or 'no row has' in str(e)
            return
        seen = {}
        for i,o in enumerate(noise, 1):
            if o.get('thread') is not None: assert seen.setdefault(o['thread'], to[i]) == to[i]


@sixty
@given(noise=noise, more=st.integers(1, 40), first=st.booleans())
def test_rows_that_have_nothing_to_do_with_them_move_none(noise, more, first):
    rows, new = noise + quiet(25), [{k: f'new {v}'.replace(' ', ' n') if isinstance(v, str) else v for k,v in o.items()} for o in quiet(more)]
    with TemporaryDirectory() as tmp:
        try: split, old = dealt(Path(tmp), rows)
        except LabError: return
        if split.packed: return # and says that new rows may move old ones
        _, now = dealt(Path(tmp), new + rows if first else rows + new)
        shift = len(new) if first else 0
        assert {i: now[i + shift] for i in old} == old


def test_it_mostly_does_split(tmp_path):
    "So that the properties above are not those of refusals"
    import random
    rng, done = random.Random(1), 0
    for _ in range(30):
        some = [dict(query=' '.join(rng.sample([f'w{i}' for i in range(30)], rng.randint(1, 7))), passage=f'w{rng.randint(0, 30)} w', label=rng.randint(0, 1)) for _ in range(15)]
        try: dealt(tmp_path, some + quiet(25)); done += 1
        except LabError: pass
    assert done >= 20


def test_shares_are_kept_whatever_the_size_of_components(tmp_path):
    "The smallest of many hashes is small: dealt out by it, large components would fill gold"
    for size in (1, 3, 7):
        write_rows(tmp_path/'all.jsonl', [dict(query=f'q{i} s{j} r{i}{j}', passage=f'p{i}', label=1) for i in range(3000) for j in range(size)])
        split = split_rows(tmp_path/'all.jsonl')
        assert split.components == 3000 and split.largest == size
        assert all(abs(split.got[k] - split.asked[k]) < .02 for k in split_names)


def of_customers(sizes): return [dict(query=f'q{i} c{c} z{i}x{c}', passage=f't{i} u{c} v{i}x{c}', label=1, customer=c) for c,n in enumerate(sizes) for i in range(n)]

@pytest.mark.parametrize('size', [1, 3, 5, 50])
def test_twenty_equal_groups_are_cut_as_asked(tmp_path, size):
    write_rows(tmp_path/'all.jsonl', of_customers([size]*20))
    for key in ('customer', 'group'):
        write_rows(tmp_path/'all.jsonl', [o | {key: o['customer']} for o in of_customers([size]*20)])
        split = split_rows(tmp_path/'all.jsonl', by=None if key == 'group' else key)
        assert {k: len(v)//size for k,v in split.rows.items()} == dict(train=16, dev=2, gold=2)
        assert split.packed == ('new rows may move old ones' in ' '.join(split.lines())) and (split.packed or size < 50)
        paths = write_split(split, tmp_path/key)
        assert [len({o['customer'] for o in read_rows(p)}) for p in paths] == [16, 2, 2]

sizes = st.lists(st.integers(1, 60), min_size=1, max_size=30)

@sixty
@given(sizes=sizes, dev=st.sampled_from([.05, .1, .3]), gold=st.sampled_from([.1, .2]))
def test_shares_that_are_named_work(sizes, dev, gold):
    "What a refusal advises is not refused"
    with TemporaryDirectory() as tmp:
        write_rows(Path(tmp)/'all.jsonl', of_customers(sizes))
        try: split = split_rows(Path(tmp)/'all.jsonl', dev, gold, by='customer')
        except LabError as e:
            named = re.search(r'shares that work: `--dev ([.0-9]+) --gold ([.0-9]+)`', str(e))
            event('refused')
            if not named: return
            event('advised')
            split = split_rows(Path(tmp)/'all.jsonl', *map(float, named.groups()), by='customer')
        to = {i: k for k,v in split.rows.items() for i in v.tolist()}
        customers = [c for c,n in enumerate(sizes) for _ in range(n)]
        assert len({(c, to[i]) for i,c in enumerate(customers, 1)}) == len(sizes) and all(len(split.rows[k]) for k in ('dev', 'gold'))

def test_what_texts_tie_is_not_packed(tmp_path):
    "A FAQ is to be called one, and not judged by two of its answers"
    write_rows(tmp_path/'faq.jsonl', [dict(query=f'q{i} r{i} s{i}', passage=f'answer {i % 20}', label=1) for i in range(1000)])
    with pytest.raises(LabError, match='write `corpus = fixed` in settings.ini$'): split_rows(tmp_path/'faq.jsonl')

def test_bytes_survive(tmp_path):
    odd = ['{"query": "</script><script>alert(1)</script>", "passage": "\\u001b[31m red \\u00e9 é 😀", "label": 1, "n": 1.0e3, "n2": 1}',
        '  {"label":1,"passage":"café","query":"tab\\there"}  ', '{"query": "z", "passage": "\\u2028 \\"", "label": 0, "tags": ["a", "a"]}']
    lines = [o.encode() for o in odd] + [b'{"query": "q%d", "passage": "p%d", "label": 1}' % (i, i) for i in range(60)]
    plain, mixed, zipped = b'\n'.join(lines) + b'\n', b'\xef\xbb\xbf' + b'\r\n'.join(lines[:30]) + b'\r\n\n \n' + b'\n'.join(lines[30:]), tmp_path/'zipped.jsonl.gz'
    (tmp_path/'plain.jsonl').write_bytes(plain), (tmp_path/'mixed.jsonl').write_bytes(mixed), zipped.write_bytes(gzip.compress(mixed))
    res = {}
    for name in ('plain.jsonl', 'mixed.jsonl', 'zipped.jsonl.gz'):
        paths = write_split(split_rows(tmp_path/name, .3, .3), tmp_path/name.split('.')[0])
        res[name] = [o.read_bytes() for o in paths]
        assert sorted(o for w in res[name] for o in w.splitlines(keepends=True)) == sorted(o + b'\n' for o in lines)
    assert len({str(o) for o in res.values()}) == 1


def test_refusals(tmp_path):
    write_rows(tmp_path/'all.jsonl', quiet(60))
    for bad in ((0, .1), (.1, -1), (.5, .5), (float('nan'), .1)):
        with pytest.raises(LabError, match='write numbers over 0'): split_rows(tmp_path/'all.jsonl', *bad)
    with pytest.raises(LabError, match='write `open` or `fixed`'): split_rows(tmp_path/'all.jsonl', corpus='closed')
    with pytest.raises(LabError, match='over 0.3'): split_rows(tmp_path/'all.jsonl', threshold=0)
    with pytest.raises(LabError, match='no such file'): split_rows(tmp_path/'none.jsonl')
    with pytest.raises(LabError, match='no row has a value for the key `topic`'): split_rows(tmp_path/'all.jsonl', by='topic')
    write_rows(tmp_path/'own.jsonl', [o | dict(thread=1) for o in quiet(60)])
    with pytest.raises(LabError, match='keys of your own are thread'): split_rows(tmp_path/'own.jsonl', by='thred')
    with pytest.raises(LabError, match='1 value of the key in 60 rows, the most common in 60 .line 1: 1.; name a key with more values'): split_rows(tmp_path/'own.jsonl', by='thread')
    assert split_rows(tmp_path/'own.jsonl').components == 60
    write_rows(tmp_path/'group.jsonl', [o | dict(group='g') for o in quiet(60)])
    with pytest.raises(LabError, match='1 group in 60 rows.*declare finer groups'): split_rows(tmp_path/'group.jsonl')
    write_rows(tmp_path/'near.jsonl', [o | dict(query=f'a b c d e f g h i k{i}') for i,o in enumerate(quiet(60))])
    with pytest.raises(LabError, match='60 nearly equal texts, one of them near 59 others .line 1: "a b c.*raise the threshold'): split_rows(tmp_path/'near.jsonl')
    write_rows(tmp_path/'query.jsonl', [o | dict(query='why') for o in quiet(60)])
    with pytest.raises(LabError, match='1 query in 60 rows'): split_rows(tmp_path/'query.jsonl')
    write_rows(tmp_path/'wrong.jsonl', [o | dict(label=0) for o in quiet(60)])
    with pytest.raises(LabError, match='no row is relevant .60 rows with label 0.; add rows with label 1'): split_rows(tmp_path/'wrong.jsonl')
    (tmp_path/'empty.jsonl').write_text('')
    with pytest.raises(LabError, match='empty'): split_rows(tmp_path/'empty.jsonl')
    (tmp_path/'bad.jsonl').write_text((tmp_path/'all.jsonl').read_text() + '{"query": "q"}\n')
    with pytest.raises(LabError, match='bad.jsonl:61: no `passage`'): split_rows(tmp_path/'bad.jsonl', by='label')


def test_all_files_or_none(tmp_path, monkeypatch):
    write_rows(tmp_path/'all.jsonl', quiet(60))
    split = split_rows(tmp_path/'all.jsonl', .3, .3)
    for name in ('train.jsonl', 'dev.jsonl', 'gold.jsonl', 'gold.jsonl.gz'): # a corpus is kept, see below
        to = tmp_path/name.replace('.', '_')
        to.mkdir()
        (to/name).write_text('mine')
        with pytest.raises(LabError, match=f'{name} exists'): write_split(split, to)
        assert [o.name for o in to.iterdir()] == [name] and (to/name).read_text() == 'mine'
    move = os.replace
    for last in ('gold.jsonl', 'corpus.jsonl'):
        def interrupted(*args):
            if Path(args[1]).name == last: raise KeyboardInterrupt
            return move(*args)
        monkeypatch.setattr(module.os, 'replace', interrupted)
        with pytest.raises(KeyboardInterrupt): write_split(split, tmp_path/'stopped')
        monkeypatch.undo()
        assert not list((tmp_path/'stopped').iterdir())
    write_rows(tmp_path/'all.jsonl', quiet(61))
    with pytest.raises(LabError, match='has changed'): write_split(split, tmp_path/'late')
    assert not (tmp_path/'late').exists()


def test_components_equal_those_of_a_union_find():
    rng = np.random.default_rng(3)
    for nodes,m in ((1, 0), (50, 20), (400, 380), (2000, 3000)):
        edges = rng.integers(0, nodes, (m, 2))
        parent = list(range(nodes))
        def find(a):
            while parent[a] != a: a = parent[a]
            return a
        for a,b in edges.tolist():
            a, b = find(a), find(b)
            parent[max(a, b)] = min(a, b)
        assert module.connected_components(nodes, edges).tolist() == [find(i) for i in range(nodes)]
    chain = np.column_stack((np.arange(100_000), np.arange(1, 100_001)))
    assert not module.connected_components(100_001, rng.permutation(chain)).any() and not module.connected_components(100_001, chain[:, ::-1]).any()


def test_the_limit_stays_until_a_file_has_doubled():
    assert [largest_judged_component(n*.1) for n in (20, 300, 1_000, 1_200, 2_400, 1_000_000)] == [8, 8, 32, 32, 64, 32768]


@pytest.mark.skipif(not real.is_dir(), reason='the shared data sets are not on this machine')
def test_a_row_split_of_articles_is_mended(tmp_path):
    rows = [o for k in split_names for o in read_rows(real/'xquad_en_row_split'/f'{k}.jsonl')]
    write_rows(tmp_path/'all.jsonl', rows)
    split = split_rows(tmp_path/'all.jsonl')
    assert all(abs(split.got[k] - split.asked[k]) < .03 for k in split_names) and not split.notes
    assert not leaking(write_split(split, tmp_path/'to'), 'open')


@pytest.mark.skipif(not real.is_dir(), reason='the shared data sets are not on this machine')
def test_a_faq_is_refused_as_open_and_splits_as_fixed(tmp_path):
    from embed_lab.data.folder import read_beir
    write_rows(tmp_path/'all.jsonl', [o for v in read_beir(real/'banking77').values() for o in v])
    with pytest.raises(LabError, match='passages in .* rows, the most common in .* write `corpus = fixed` in settings.ini'): split_rows(tmp_path/'all.jsonl')
    split = split_rows(tmp_path/'all.jsonl', corpus='fixed')
    assert all(abs(split.got[k] - split.asked[k]) < .02 for k in split_names)
    assert not leaking(write_split(split, tmp_path/'to'), 'fixed')

def test_contradictions_are_named(tmp_path):
    write_rows(tmp_path/'rows.jsonl', quiet(400) + [o | dict(label=0) for o in quiet(400)[:3]])
    assert any('3 rows with label 0 and the very passage' in o for o in split_rows(tmp_path/'rows.jsonl').notes)


# the corpus

def few(folder, gold=(), **kw):
    "Splits by hand: three pairs of train, two of dev, and gold"
    gold = gold or [dict(query='clean a lens', passage='wipe it', label=1), dict(query='clean a lens', passage='boil it', label=0), dict(query='wash wool', passage='wipe it', label=1)]
    rows = dict(train=quiet(3), dev=quiet(5)[3:], gold=gold) | kw
    for k,v in rows.items(): write_rows(folder/f'{k}.jsonl', v)
    return folder

def test_gold_is_searched_among_everything_and_judged_as_before(tmp_path):
    folder = few(tmp_path)
    before = retrieval_task(read_folder(folder)['gold'])
    assert write_corpus(folder)[1] == 7
    found = read_folder(folder)
    task = retrieval_task(found['gold'], found['corpus'])
    assert len(before.corpus) == 2 and len(task.corpus) == 7
    def judged(t): return {(t.queries[q], t.corpus[d]): g for q,ds in t.qrels.items() for d,g in ds.items()}
    assert judged(task) == judged(before) == {('clean a lens', 'wipe it'): 1, ('clean a lens', 'boil it'): 0, ('wash wool', 'wipe it'): 1}

def test_label_0_and_negatives_give_one_corpus(tmp_path):
    "Two ways to write the same file"
    for o in 'ab': (tmp_path/o).mkdir()
    few(tmp_path/'a', train=[dict(query='q', passage='p', label=1), dict(query='q', passage='n', label=0), dict(query='q', passage='m', label=0)])
    few(tmp_path/'b', train=[dict(query='q', passage='p', label=1, negatives=['n', 'm'])])
    assert (write_corpus(tmp_path/'a')[0]).read_bytes() == (write_corpus(tmp_path/'b')[0]).read_bytes()

def test_new_rows_rename_no_document(tmp_path):
    few(tmp_path)
    old = read_corpus(write_corpus(tmp_path)[0])
    (tmp_path/'corpus.jsonl').unlink()
    write_rows(tmp_path/'train.jsonl', quiet(40)[::-1])
    now = read_corpus(write_corpus(tmp_path)[0])
    assert now.items() > old.items()

def test_documents_have_the_ids_of_their_rows(tmp_path):
    train = [dict(query='a', passage='one', label=1, passage_id=0), dict(query='b', passage='two', label=1), dict(query='c', passage='two', label=1, passage_id=None)]
    gold = [dict(query='d', passage='three', label=1, negatives=['one', 'four']), dict(query='e', passage='three', label=1, passage_id='t3')]
    docs = read_corpus(write_corpus(few(tmp_path, gold, train=train))[0])
    assert sorted(docs.values()) == sorted(['one', 'two', 'three', 'four', *(o['passage'] for o in quiet(5)[3:])]) and docs['0'] == 'one' and docs['t3'] == 'three'
    found = read_folder(tmp_path)
    assert set(retrieval_task(found['gold'], found['corpus']).relevant['q0']) == {'t3'} # the row without an id too

@pytest.mark.parametrize('where', ['train', 'gold'])
def test_an_id_of_two_passages_is_refused_where_it_stands(tmp_path, where):
    rows = [dict(query='a', passage='one', label=1, passage_id=7), dict(query='b', passage='two', label=1, passage_id='7')]
    few(tmp_path, **{where: rows})
    with pytest.raises(LabError, match=f"{where}.jsonl:2: `passage_id` '7' is that of another passage.*give each"): write_corpus(tmp_path)
    write_rows(tmp_path/'all.jsonl', quiet(60) + rows)
    with pytest.raises(LabError, match="all.jsonl:62: `passage_id`"): write_split(split_rows(tmp_path/'all.jsonl', .3, .3), tmp_path/'to')
    assert not list((tmp_path/'to').iterdir()) and sorted(o.name for o in tmp_path.glob('*.jsonl')) == ['all.jsonl', 'dev.jsonl', 'gold.jsonl', 'train.jsonl']

@pytest.mark.parametrize('name', ['corpus.jsonl', 'corpus.jsonl.gz'])
def test_a_corpus_is_never_touched(tmp_path, name):
    for o in ('to', 'by hand'): (tmp_path/o).mkdir()
    write_rows(tmp_path/'all.jsonl', quiet(60))
    for o in (tmp_path/'to', few(tmp_path/'by hand')): (o/name).write_bytes(b'mine')
    write_split(split_rows(tmp_path/'all.jsonl', .3, .3), tmp_path/'to')
    with pytest.raises(LabError, match=f'{name} already exists and is kept.*move it away first'): write_corpus(tmp_path/'by hand')
    for o in ('to', 'by hand'): assert (tmp_path/o/name).read_bytes() == b'mine' and len([*(tmp_path/o).glob('corpus*')]) == 1

def test_what_cannot_be_read_leaves_nothing(tmp_path, monkeypatch):
    few(tmp_path)
    (tmp_path/'dev.jsonl').write_text('{"query": "q"}\n')
    with pytest.raises(LabError, match='dev.jsonl:1: no `passage`'): write_corpus(tmp_path)
    few(tmp_path)
    def stopped(*_): raise KeyboardInterrupt
    monkeypatch.setattr(module.os, 'replace', stopped)
    with pytest.raises(KeyboardInterrupt): write_corpus(tmp_path)
    assert sorted(o.name for o in tmp_path.iterdir()) == ['dev.jsonl', 'gold.jsonl', 'train.jsonl']
    (tmp_path/'gold.jsonl').unlink()
    with pytest.raises(LabError, match='no gold.jsonl, so nothing is searched; `emb split` makes one'): write_corpus(tmp_path)

@pytest.mark.parametrize('apart', [False, True])
def test_check_and_run_warn_of_the_same_two_numbers(tmp_path, monkeypatch, apart):
    "Also where a second process compares the passages"
    from embed_lab.data import check
    if apart: monkeypatch.setattr(check, '_large', -1)
    res = check_folder(few(tmp_path, train=[*quiet(3), dict(query='z', passage='z', label=1, negatives=['y', 'wipe it'])]))
    narrow, = (o for o in res.findings if o.rule == 'no corpus')
    assert (narrow.level, narrow.says, res.searched, res.clean) == ('warn', narrow_search(tmp_path), 2, True)
    assert 'only among its own 2 passages, of 9 in all splits,' in narrow.says and '`emb corpus`' in narrow.says
    write_corpus(tmp_path)
    after = check_folder(tmp_path)
    assert after.searched == after.documents == 9 and not narrow_search(tmp_path)
    assert [o for o in res.findings if o is not narrow] == after.findings and res.leaks == after.leaks and res.splits == after.splits

def test_nobody_is_warned_where_gold_has_every_passage(tmp_path):
    "A FAQ: the questions differ, the answers are the same"
    faq = [dict(query=f'q{i}', passage=f'answer {i % 3}', label=1) for i in range(9)]
    res = check_folder(few(tmp_path, faq[:3], train=faq[3:6], dev=faq[6:]))
    assert not [o for o in res.findings if o.rule == 'no corpus'] and not narrow_search(tmp_path) and res.searched == 3

def test_leaks_are_judged_as_without_a_corpus(tmp_path):
    "A passage that is there because train has it makes no leak, and hides none"
    gold = [dict(query='r0 q0 s0', passage='t0 u0 v0', label=1), dict(query='new', passage='words', label=1)]
    before = check_folder(few(tmp_path, gold))
    write_corpus(tmp_path)
    after = check_folder(tmp_path)
    assert not before.clean and before.leaks == after.leaks and [o.rule for o in before.findings if 'leak' in o.rule] == [o.rule for o in after.findings if 'leak' in o.rule]

def test_a_manual_folder_and_a_split_have_one_corpus(tmp_path):
    "Gold is judged alike after `emb corpus` and after `emb split`"
    write_rows(tmp_path/'all.jsonl', quiet(60))
    write_split(split_rows(tmp_path/'all.jsonl', .3, .3), tmp_path/'to')
    def task():
        found = read_folder(tmp_path/'to')
        return task_hashes(retrieval_task(found['gold'], found['corpus']))
    before = task()
    (tmp_path/'to'/'corpus.jsonl').unlink()
    write_corpus(tmp_path/'to')
    assert task() == before
