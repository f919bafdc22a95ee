"What `split` promises of any rows: no leak, no row lost, no byte changed, nothing moved by what is added"
import gzip, os
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np, pytest
from embed_lab.data import split as module
from embed_lab.data.check import leaks_between
from embed_lab.lab import LabError
from embed_lab.data.leaks import Nearness, table_of
from embed_lab.data.reading import read_rows
from embed_lab.data.files import write_rows
from embed_lab.data.split import largest_judged_component, split_rows, split_names, write_split
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
        try: _, old = dealt(Path(tmp), rows)
        except LabError: return
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
    with pytest.raises(LabError, match='would hold nothing relevant.*add rows with label 1'): split_rows(tmp_path/'wrong.jsonl')
    (tmp_path/'empty.jsonl').write_text('')
    with pytest.raises(LabError, match='empty'): split_rows(tmp_path/'empty.jsonl')
    (tmp_path/'bad.jsonl').write_text((tmp_path/'all.jsonl').read_text() + '{"query": "q"}\n')
    with pytest.raises(LabError, match='bad.jsonl:61: no `passage`'): split_rows(tmp_path/'bad.jsonl', by='label')


def test_all_files_or_none(tmp_path, monkeypatch):
    write_rows(tmp_path/'all.jsonl', quiet(60))
    split = split_rows(tmp_path/'all.jsonl', .3, .3)
    for name in ('train.jsonl', 'dev.jsonl', 'gold.jsonl', 'gold.jsonl.gz'):
        to = tmp_path/name.replace('.', '_')
        to.mkdir()
        (to/name).write_text('mine')
        with pytest.raises(LabError, match=f'{name} exists'): write_split(split, to)
        assert [o.name for o in to.iterdir()] == [name] and (to/name).read_text() == 'mine'
    def interrupted(*args):
        if Path(args[1]).name == 'gold.jsonl': raise KeyboardInterrupt
        return move(*args)
    move = os.replace
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
    from embed_lab.data.task import read_beir
    write_rows(tmp_path/'all.jsonl', [o for v in read_beir(real/'banking77').values() for o in v])
    with pytest.raises(LabError, match='passages in .* rows, the most common in .* write `corpus = fixed` in settings.ini'): split_rows(tmp_path/'all.jsonl')
    split = split_rows(tmp_path/'all.jsonl', corpus='fixed')
    assert all(abs(split.got[k] - split.asked[k]) < .02 for k in split_names)
    assert not leaking(write_split(split, tmp_path/'to'), 'fixed')

def test_contradictions_are_named(tmp_path):
    write_rows(tmp_path/'rows.jsonl', quiet(400) + [o | dict(label=0) for o in quiet(400)[:3]])
    assert any('3 rows with label 0 and the very passage' in o for o in split_rows(tmp_path/'rows.jsonl').notes)
