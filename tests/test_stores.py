"Vectors for a store: Parquet with ids and stamp, the same vectors, and a word where another model made them"
import json
import numpy as np
import pytest
from typer.testing import CliRunner
from embed_lab.cli.commands import app
from embed_lab.data.files import write_json, write_rows
from embed_lab.delivery import vectors as made
from embed_lab.delivery.vectors import check_stamp, read_vectors, write_parquet
from embed_lab.lab import LabError
from embed_lab.models.base import load_model, tiny_model
from embed_lab.models.canary import stamp
from embed_lab.models.search import top_k
from embed_lab.models.vectors import encode

def command(*args):
    res = CliRunner().invoke(app, [str(o) for o in args])
    return res.exit_code, res.stdout + res.stderr

@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "Two models of one vocabulary, and a corpus with ids of every kind, encoded by the first"
    home = tmp_path_factory.mktemp('stores')
    texts = [f'word{i} word{i*7 % 50} word{i*3 % 50}' for i in range(50)]
    write_rows(home/'corpus.jsonl', [dict(_id=f'd"{i}\u2028é', text=o) for i,o in enumerate(texts)])
    for seed in (0, 1): tiny_model(texts, seed=seed).save_pretrained(str(home/f'model_{seed}'))
    assert command('encode', home/'model_0', home/'corpus.jsonl', '--out', home/'vectors', '--parquet')[0] == 0
    return home

def test_the_file_holds_the_vectors_and_finds_what_they_find(home, monkeypatch):
    import pyarrow.parquet as pq
    table = pq.read_table(home/'vectors'/'vectors.parquet')
    ids = [json.loads(o)['_id'] for o in (home/'corpus.jsonl').read_text().split('\n') if o]
    assert table['id'].to_pylist() == ids and str(table.schema.field('vector').type).startswith('fixed_size_list<element: float')
    vecs = np.array(table['vector'].to_pylist(), np.float32)
    stored = read_vectors(home/'vectors'/'vectors.parquet')
    assert np.array_equal(vecs, np.load(home/'vectors'/'vectors.npy')) and np.array_equal(vecs, stored.vectors) and stored.ids == ids
    q = encode(load_model(home/'model_0'), ['word7 word49'], 'query')
    assert np.array_equal(top_k(q, stored.vectors, 10)[0], np.argsort(-(vecs @ q[0]), kind='stable')[None,:10])
    monkeypatch.setattr(made, '_rows', 7)
    write_parquet(home/'vectors')
    assert pq.ParquetFile(home/'vectors'/'vectors.parquet').num_row_groups == 8 and np.array_equal(read_vectors(home/'vectors'/'vectors.parquet').vectors, vecs)

def test_another_models_vectors_are_told(home):
    own = stamp(home/'model_0')
    for o in (home/'vectors', home/'vectors'/'vectors.parquet'):
        assert check_stamp(o, home/'model_0') == own
        assert command('stamp', home/'model_0', o) == (0, f'{own}\n')
        code, said = command('stamp', home/'model_1', o)
        assert code == 1 and 'was made by another model' in said and own in said
    assert json.loads(command('stamp', home/'model_1', home/'vectors', '--json')[1])['same'] is False
    model = load_model(home/'model_0')
    model.prompts = dict(query='find: ', document='read: ')
    model.save_pretrained(str(home/'prompted'))
    assert command('stamp', home/'prompted', home/'vectors')[0] == 1

def test_vectors_from_before_there_were_stamps_get_one(home, tmp_path):
    command('encode', home/'model_0', home/'corpus.jsonl', '--out', tmp_path/'old')
    facts = json.loads((tmp_path/'old'/'encoded.json').read_text())
    write_json(tmp_path/'old'/'encoded.json', {k: v for k,v in facts.items() if k != 'stamp'})
    code, said = command('stamp', home/'model_0', tmp_path/'old')
    assert code == 2 and 'carries no stamp' in said
    assert 'up to date' in command('encode', home/'model_0', home/'corpus.jsonl', '--out', tmp_path/'old')[1]
    assert json.loads((tmp_path/'old'/'encoded.json').read_text()) == facts
    assert command('encode', home/'model_1', home/'corpus.jsonl', '--out', tmp_path/'old')[0] == 2

def test_what_are_no_vectors_is_said(home, tmp_path):
    (tmp_path/'a.parquet').write_text('no')
    import pyarrow as pa, pyarrow.parquet as pq
    pq.write_table(pa.table(dict(id=['a'])), tmp_path/'b.parquet')
    for o,says in ((tmp_path/'a.parquet', 'is not a Parquet file'), (tmp_path/'b.parquet', 'does not say which model'), (tmp_path/'c', 'no such folder'), (tmp_path, 'holds no finished vectors')):
        with pytest.raises(LabError, match=says): read_vectors(o)
    command('encode', home/'model_0', home/'corpus.jsonl', '--out', tmp_path/'short')
    np.save(tmp_path/'short'/'vectors.npy', np.load(tmp_path/'short'/'vectors.npy')[:9])
    with pytest.raises(LabError, match='50 ids and 9 vectors'): write_parquet(tmp_path/'short')
