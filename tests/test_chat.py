"Asking a language model: what is sent, what is kept, what is asked again, and every answer that is none"
import json, threading
import pytest
from embed_lab.lab import LabError
from embed_lab.models import endpoint
from embed_lab.models.chat import open_chat
from support import serving

schema = dict(type='object', properties=dict(grade=dict(type='integer')), required=['grade'])
def completion(text, **usage): return dict(choices=[dict(message=dict(content=text))], usage=usage)
def graded(path, body, head): return 200, completion('{"grade": 1}', prompt_tokens=7, completion_tokens=3)

@pytest.fixture(autouse=True)
def no_pauses(monkeypatch): monkeypatch.setattr(endpoint, 'sleep', lambda s: None)

@pytest.fixture
def opened(monkeypatch, tmp_path):
    monkeypatch.setenv('EMB_CHAT_MODEL', 'tiny')
    def opened(at, **kw):
        monkeypatch.setenv('EMB_CHAT_URL', at)
        return open_chat(tmp_path/'answers', **kw)
    return opened

def test_each_answer_is_paid_for_once_and_counted(opened):
    seen = []
    with serving(lambda path, body, head: seen.append((path, body)) or graded(path, body, head)) as at:
        said = dict(opened(at).ask_all([f'prompt {i}' for i in range(20)], 'a judge', schema))
        again = dict(opened(at).ask_all([f'prompt {i}' for i in range(21)], 'a judge', schema))
    assert len(seen) == 21 and {*map(str, said)} == {*map(str, range(20))} and seen[0][0] == '/v1/chat/completions'
    assert seen[0][1]['messages'][0] == dict(role='system', content='a judge') and seen[0][1]['response_format']['json_schema']['schema'] == schema
    assert all(o.data == dict(grade=1) and (o.sent, o.said) == (7, 3) for o in again.values())
    assert [again[i].cached for i in (0, 19, 20)] == [True, True, False]

def test_another_model_prompt_or_schema_is_another_answer(opened, monkeypatch):
    seen = []
    with serving(lambda path, body, head: seen.append(body['model']) or graded(path, body, head)) as at:
        for prompt,system,wanted in ('a', '', schema), ('b', '', schema), ('a', 'x', schema), ('a', '', None): opened(at).ask(prompt, system, wanted)
        monkeypatch.setenv('EMB_CHAT_MODEL', 'other')
        opened(at).ask('a', '', schema)
    assert seen == ['tiny']*4 + ['other']

def test_a_damaged_answer_on_disk_is_asked_for_again(opened, tmp_path):
    with serving(graded) as at:
        opened(at).ask('a', '', schema)
        kept, = (tmp_path/'answers').rglob('*.json')
        for text in '', '[]', '{"text": 1, "usage": {}}':
            kept.write_text(text)
            assert not opened(at).ask('a', '', schema).cached
        assert opened(at).ask('a', '', schema).cached

def test_no_more_requests_than_the_limit_are_under_way(opened):
    now, most, lock, gate = [0], [0], threading.Lock(), threading.Event()
    def answer(path, body, head):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if now[0] == 3: gate.set()
        gate.wait(20)
        with lock: now[0] -= 1
        return graded(path, body, head)
    with serving(answer) as at: assert len([*opened(at, limit=3).ask_all([*map(str, range(12))])]) == 12
    assert most[0] == 3

@pytest.mark.parametrize('status', [429, 503])
def test_a_busy_server_is_asked_again(opened, status):
    left = [status]*4
    with serving(lambda *o: (left.pop(), '', {'Retry-After': '0'}) if left else graded(*o)) as at: assert opened(at).ask('a', '', schema).data == dict(grade=1)

def test_what_the_server_does_not_take_is_left_out_and_said_once(opened):
    seen, lines = [], []
    def answer(path, body, head):
        seen.append(body)
        for o in 'temperature', 'response_format':
            if o in body: return 400, dict(error=dict(message=f'unsupported: {o}'))
        return graded(path, body, head)
    with serving(answer) as at: said = [*opened(at, limit=1, tell=lines.append).ask_all(['a', 'b'], schema=schema)]
    assert len(seen) == 4 and len(lines) == 2 and all(o.data for _,o in said) and 'grade' in seen[-1]['messages'][-1]['content']
    assert any('`response_format`' in o and 'unsupported' in o for o in lines)

def test_one_refused_prompt_stops_nothing_and_is_not_kept(opened):
    def answer(path, body, head): return (400, dict(error='too long')) if 'long' in body['messages'][-1]['content'] else graded(path, body, head)
    with serving(answer) as at:
        said = dict(opened(at, limit=1).ask_all(['a', 'long', 'b'], schema=schema))
        assert said[1].flaw == 'refused (400): too long' and said[2].data and opened(at).known('long', '', schema) is None
        with pytest.raises(LabError, match='too long; so were the two before'): [*opened(at, limit=1).ask_all(['long']*5, schema=schema)]

@pytest.mark.parametrize('text,flaw', [('', 'an empty answer'), ('I cannot', 'no JSON object with grade'), ('{"other": 1}', 'no JSON object'), ('{"grade": 1', 'no JSON object'), ('[1]'*3000, 'no JSON')])
def test_an_answer_without_the_object_is_kept_with_its_flaw(opened, text, flaw):
    with serving(lambda *_: (200, completion(text))) as at:
        assert flaw in opened(at).ask('a', '', schema).flaw and opened(at).ask('a', '', schema).cached

@pytest.mark.parametrize('answer,said', [((401, ''), 'set EMB_CHAT_API_KEY'), ((404, dict(error='no such model')), '404: no such model'), ((301, '', {'Location': 'http://x'}), 'sends elsewhere'),
    ((200, '<html>Sign in'), 'a web page'), ((200, dict(choices=[])), 'no message'), ((200, dict(choices=[dict(message=dict(content=[1]))])), 'no message')])
def test_what_is_no_answer_is_one_line_and_not_kept(opened, tmp_path, answer, said):
    with serving(lambda *_: answer) as at:
        with pytest.raises(LabError, match=said) as e: [*opened(at).ask_all(['a', 'b'], schema=schema)]
    assert '\n' not in str(e.value) and not [*tmp_path.rglob('*.json')]

def test_an_error_leaves_what_was_answered_on_disk(opened, tmp_path):
    def answer(path, body, head): return (500, '') if '7' in body['messages'][-1]['content'] else graded(path, body, head)
    with serving(answer) as at:
        with pytest.raises(LabError): [*opened(at, limit=1).ask_all([*map(str, range(10))])]
    assert len([*(tmp_path/'answers').rglob('*.json')]) == 7

def test_the_key_is_sent_and_never_shown(opened, monkeypatch, tmp_path):
    monkeypatch.setenv('EMB_CHAT_API_KEY', 'abc123def456ghi789')
    monkeypatch.setenv('EMBEDDINGS_API_KEY', 'another')
    seen = []
    with serving(lambda path, body, head: seen.append(head['Authorization']) or (403 if len(seen) > 1 else 200, completion('fine'))) as at:
        chat = opened(at)
        chat.ask('a')
        with pytest.raises(LabError) as e: chat.ask('b')
    kept, = (tmp_path/'answers').rglob('*.json')
    assert {*seen} == {'Bearer abc123def456ghi789'} and not any('abc123' in o for o in (str(e.value), repr(chat), kept.read_text()))

def test_the_one_model_of_a_server_need_not_be_named(opened, monkeypatch):
    monkeypatch.delenv('EMB_CHAT_MODEL')
    with serving(graded, models=dict(data=[dict(id='only')])) as at: assert opened(at).model == 'only'
    with serving(graded, models=dict(data=[dict(id='a'), dict(id='b')])) as at:
        with pytest.raises(LabError, match='name one of a, b'): opened(at)
    with serving(graded) as at:
        with pytest.raises(LabError, match='set EMB_CHAT_MODEL'): opened(at)

@pytest.mark.parametrize('url,said', [('', 'set EMB_CHAT_URL'), ('localhost:1', 'write it like http://'), ('http://me:pw@here', 'EMB_CHAT_API_KEY')])
def test_a_missing_or_wrong_address_is_one_line(opened, url, said):
    with pytest.raises(LabError, match=said): opened(url)
