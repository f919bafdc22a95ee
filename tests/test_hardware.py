"What a run is computed on is decided by what there is, recorded, and pinned where a run is resumed"
import json, os, shutil, time
import pytest
from support import emb, manifest, whole_run, whole_run_path as name, write_manifest

@pytest.fixture
def unpinned(monkeypatch):
    import torch
    monkeypatch.setenv('EMB_HARDWARE', '')
    for o in (torch.cuda, torch.backends.mps): monkeypatch.setattr(o, 'is_available', lambda: False)
    monkeypatch.setattr(torch.accelerator, 'current_accelerator', lambda check_available: None)
    return lambda **has: monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: has)

def broken_clock(): raise AssertionError('a clock was read')

@pytest.mark.parametrize('has, precision', [(dict(amx_bf16=True), 'bf16'), (dict(avx512_f=True, avx512_bf16=True), 'bf16'), (dict(avx512_f=True), 'fp32'), ({}, 'fp32')])
def test_precision_is_decided_by_what_there_is_and_no_clock_is_read(unpinned, monkeypatch, has, precision):
    "This machine may be slow at it, or busy: it does not matter"
    from embed_lab.models.base import computing_facts, hardware
    unpinned(**has)
    for o in ('perf_counter', 'process_time', 'monotonic', 'time', 'perf_counter_ns', 'process_time_ns', 'thread_time'): monkeypatch.setattr(time, o, broken_clock)
    assert (hardware().precision, computing_facts()['precision'], computing_facts(dict(precision='fp32'))['precision']) == (precision, precision, 'fp32')

def test_how_a_run_is_computed_is_one_dictionary(unpinned):
    from embed_lab.models.base import computing_facts
    unpinned()
    import torch
    assert computing_facts({}) == dict(device='cpu', precision='fp32', threads=torch.get_num_threads(), chunk=512)
    assert computing_facts(dict(threads=7, chunk=0, devices=2, lr=1)) == dict(device='cpu', precision='fp32', threads=7, chunk=0, devices=2)

def test_a_run_is_not_resumed_on_other_hardware(base):
    from embed_lab.lab import LabError
    from embed_lab.runs.record import rehearsal
    from embed_lab.training.weights import base_model
    run = rehearsal(base)
    base_model(run, None)
    hw = run.manifest['hardware']
    assert {'device', 'precision', 'threads', 'chunk'} <= hw.keys()
    run.record(attempts=[dict(start='', end='', status='killed', error='')])
    base_model(run, None)
    run.record(hardware=hw | dict(device='cuda', precision='bf16'))
    with pytest.raises(LabError, match=r'cannot be resumed, because device was cuda, now cpu \(and 1 more\); put that back'): base_model(run, None)
    assert run.manifest['hardware']['device'] == 'cuda' # so that it can be resumed where it began

def test_a_second_kill_before_anything_is_computed_forgets_nothing(whole, tmp_path):
    "A start that is killed early had left a manifest without device and threads, and the next one chose anew"
    from embed_lab.runs.execute import _pinned_environment
    from embed_lab.runs.manifest import machine_facts
    from embed_lab.lab import read_lab
    from embed_lab.runs.record import _attempts
    run = shutil.copytree(name(whole), tmp_path/'run')
    old = manifest(run)
    write_manifest(run, old | dict(status='killed', error='gone'))
    facts = {k: old[k] for k in ('inputs', 'environment')} | dict(hardware=machine_facts())
    assert [o['status'] for o in _attempts(read_lab(whole), run, facts)] == ['killed'] and facts['hardware'] == old['hardware']
    assert _pinned_environment(facts) == _pinned_environment(old) != {}

def test_a_completed_run_stands_and_says_that_it_was_computed_elsewhere(whole, tmp_path):
    lab = shutil.copytree(whole, tmp_path/'lab')
    assert 'computed otherwise' not in emb('run', *whole_run, cwd=lab).stderr
    old = manifest(name(lab))
    write_manifest(name(lab), old | dict(hardware=old['hardware'] | dict(precision='bf16', threads=8)))
    res = emb('run', *whole_run, cwd=lab)
    assert 'is up to date' in res.stdout and manifest(name(lab))['end'] == old['end']
    assert 'was computed otherwise than it would be here: precision was bf16, now fp32; threads was 8, now 1. It stays as it is; --restart makes it again' in res.stderr
