"Asking a server: what is sent, what is tried again, and every answer that is none"
import base64, json, time
import numpy as np, pytest
from embed_lab.lab import LabError
from embed_lab.models import endpoint
from embed_lab.models.endpoint import open_endpoint
from support import serving

def rows(body): return [dict(index=i, embedding=[len(o), 1.]) for i,o in enumerate(body['input'])]
def sound(path, body, head): return (200, dict(data=rows(body)))

def asked(answer, url='{}/v1', texts=('ab', 'c')):
    with serving(answer) as at: return open_endpoint(url.format(at)).embed(list(texts))

@pytest.fixture(autouse=True)
def no_pauses(monkeypatch): monkeypatch.setattr(endpoint, 'sleep', lambda s: None)

def test_batches_are_put_together_in_order_and_told():
    told = []
    with serving(sound) as at: vecs = open_endpoint(at).embed([f'{"x"*i}' for i in range(1, 71)], tell=told.append)
    assert vecs[:,0].tolist() == [*range(1, 71)] and told == [32, 64, 70] and vecs.dtype == np.float32

def test_vectors_come_by_number_and_in_base64():
    def answer(path, body, head):
        packed = [dict(index=o['index'], embedding=base64.b64encode(np.array(o['embedding'], '<f4').tobytes()).decode()) for o in rows(body)]
        return 200, dict(data=packed[::-1])
    assert asked(answer).tolist() == [[2, 1], [1, 1]]

@pytest.mark.parametrize('url,route', [('{}', '/v1/embeddings'), ('{}/v1/', '/v1/embeddings'), ('{}/api/embeddings', '/api/embeddings'), ('{}/v1?a=b', '/v1/embeddings?a=b')])
def test_the_address_leads_to_the_route(url, route):
    seen = []
    def answer(path, body, head): return seen.append(path) or sound(path, body, head)
    asked(answer, url)
    assert {*seen} == {route}

def test_the_key_is_sent_and_never_shown(monkeypatch):
    monkeypatch.setenv('EMBEDDINGS_API_KEY', 'abc123def456ghi789')
    seen = []
    def answer(path, body, head): return seen.append(head['Authorization']) or (400, {'error': {'message': f"bad key {head['Authorization']}"}})
    with pytest.raises(LabError) as e: asked(answer)
    assert seen[0] == 'Bearer abc123def456ghi789' and 'abc123' not in str(e.value) and 'bad key' in str(e.value)

def test_no_key_is_sent_where_none_is_set(monkeypatch):
    monkeypatch.delenv('EMBEDDINGS_API_KEY', raising=False)
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-0123456789abcdef0123')
    seen = []
    asked(lambda path, body, head: seen.append(head.get('Authorization')) or sound(path, body, head))
    assert {*seen} == {None}

@pytest.mark.parametrize('status', [429, 500, 503])
def test_a_busy_server_is_asked_again(status):
    left = [status, status]
    assert len(asked(lambda path, body, head: (left.pop(), '') if left else sound(path, body, head))) == 2

def test_a_server_that_stays_busy_is_given_up():
    with pytest.raises(LabError, match='answers 503: overloaded'): asked(lambda *_: (503, dict(error='overloaded')))

def test_the_server_says_how_long_to_wait():
    assert endpoint._pause({'Retry-After': '3'}, 1) == 3 and endpoint._pause({'Retry-After': '9999'}, 1) == 30 and endpoint._pause({'Retry-After': 'Mon'}, 1) == 1

def test_a_redirect_is_not_followed_with_the_key(monkeypatch):
    monkeypatch.setenv('EMBEDDINGS_API_KEY', 'abc123def456ghi789')
    seen = []
    with serving(lambda path, body, head: seen.append(path) or sound(path, body, head)) as other:
        with pytest.raises(LabError, match='sends elsewhere'): asked(lambda *_: (307, '', dict(Location=f'{other}/v1/embeddings')))
    assert not seen

@pytest.mark.parametrize('answer,why', [((200, '<html>'), 'a web page'), ((200, dict(data=[])), '1 text with 0 vectors'), ((200, [[1, float('nan')]]), 'NaN'), ((200, [[1, None]]), 'NaN|no vectors'),
    ((200, '[['), 'no vectors'), ((200, dict(data=[dict(index=5, embedding=[1])])), 'numbered'), ((200, [['a']]), 'no vectors'), ((200, dict(data=[dict(index=0, embedding='%%')])), 'no vectors'), ((200, 7), 'no list'),
    ((401, ''), 'set EMBEDDINGS_API_KEY'), ((404, dict(message='The model `x` does not exist')), 'model `x`')])
def test_what_is_no_answer_is_one_line(answer, why):
    with pytest.raises(LabError, match=why) as e: asked(lambda *_: answer)
    assert '\n' not in str(e.value)

def test_another_dimension_on_the_way_is_refused():
    sizes = [2, 2, 3]
    def answer(path, body, head): return 200, [[1.]*sizes.pop(0)]*len(body['input'])
    with serving(answer) as at, pytest.raises(LabError, match='several models'): open_endpoint(f'{at}/v1').embed(['a']*40)

def test_a_closed_port_and_a_silent_server_are_known_in_seconds():
    with serving(sound) as at: pass
    start = time.time()
    with pytest.raises(LabError, match='no server answers there'): open_endpoint(at)
    with serving(lambda *_: time.sleep(1) or (200, [])) as at, pytest.raises(LabError, match='no answer in 0.05 seconds'): open_endpoint(f'{at}/embed', seconds=.05)
    assert time.time() - start < 20

def test_several_models_want_a_name():
    listed = dict(data=[dict(id='a'), dict(id='b')])
    with serving(sound, listed) as at:
        with pytest.raises(LabError, match='name one of a, b'): open_endpoint(at)
        assert open_endpoint(at, 'b').model == 'b'
