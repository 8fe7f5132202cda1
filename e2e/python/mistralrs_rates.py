"""Rates of mistral.rs: MODEL.gguf PROMPT_TOKENS TOKENS. Prints one line of JSON: tokens a second."""

import json
import os
import sys

from mistralrs import CompletionRequest, Runner, Which

path, prompt_tokens, tokens = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
folder, name = os.path.split(path)
runner = Runner(which=Which.GGUF(folder, name), max_seqs=1, prefix_cache_n=0, token_source="none")


def usage(words, max_tokens):
    request = CompletionRequest(
        model="default", prompt=" the" * words, max_tokens=max_tokens, temperature=0.0, ignore_eos=True
    )
    return runner.send_completion_request(request).usage


usage(16, 4)
measured = usage(prompt_tokens, tokens)
print(json.dumps({
    "prefill": measured.prompt_tokens / measured.total_prompt_time_sec,
    "decode": measured.completion_tokens / max(measured.total_completion_time_sec, 1e-9),
    "prompt_tokens": measured.prompt_tokens,
    "completion_tokens": measured.completion_tokens,
}))
