"""The unmodified openai package against a running daemon.

Environment: OSTRO_URL (ends in /v1), OSTRO_MODEL. Run by e2e/tests/openai_client.rs.
"""

import os
import unittest
from concurrent.futures import ThreadPoolExecutor

import openai

MODEL = os.environ["OSTRO_MODEL"]
CLIENT = openai.OpenAI(base_url=os.environ["OSTRO_URL"], api_key="not-used", max_retries=0, timeout=120)
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
# From an independent f32 computation on the dequantised weights.
ANSWER = "The capital of France is Paris."
ANSWER_IDS = [504, 3575, 282, 4649, 314, 7042, 30, 2]


def chat(**options):
    request = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 32} | options
    return CLIENT.chat.completions.create(**request)


class Chat(unittest.TestCase):
    def test_a_greedy_answer_equals_the_f32_computation(self):
        answer = chat(extra_body={"return_token_ids": True})
        choice = answer.choices[0]
        self.assertEqual(choice.message.role, "assistant")
        self.assertEqual(choice.message.content, ANSWER)
        self.assertEqual(choice.finish_reason, "stop")
        self.assertEqual(choice.model_extra["token_ids"], ANSWER_IDS)
        self.assertEqual(len(answer.model_extra["prompt_token_ids"]), answer.usage.prompt_tokens)
        self.assertEqual(answer.usage.completion_tokens, len(ANSWER_IDS))
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + len(ANSWER_IDS))
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, MODEL)

    def test_a_stream_gives_the_same_text_and_ends_with_usage(self):
        chunks = list(chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, ANSWER)
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, len(ANSWER_IDS))
        self.assertEqual({c.id for c in chunks}, {chunks[0].id})

    def test_a_stream_has_no_usage_unless_asked(self):
        self.assertTrue(all(c.usage is None for c in chat(stream=True)))

    def test_a_stream_that_is_closed_early_leaves_the_server_well(self):
        for _ in range(8):
            stream = chat(stream=True, max_tokens=512, extra_body={"ignore_eos": True})
            next(iter(stream))
            stream.close()
        self.assertEqual(chat().choices[0].message.content, ANSWER)

    def test_n_gives_that_many_choices(self):
        choices = chat(n=3, temperature=1.0, seed=7).choices
        self.assertEqual([c.index for c in choices], [0, 1, 2])
        self.assertGreater(len({c.message.content for c in choices}), 1)

    def test_greedy_choices_are_equal(self):
        self.assertEqual({c.message.content for c in chat(n=2).choices}, {ANSWER})

    def test_the_same_seed_gives_the_same_text_whatever_else_runs(self):
        def text(seed):
            return chat(temperature=1.0, seed=seed, max_tokens=24).choices[0].message.content

        alone = text(42)
        with ThreadPoolExecutor(8) as pool:
            crowd = list(pool.map(text, [42, 1, 42, 2, 42, 3, 42, 4]))
        self.assertEqual({crowd[i] for i in (0, 2, 4, 6)}, {alone})
        self.assertGreater(len(set(crowd)), 1)

    def test_a_stop_string_ends_the_answer_and_is_not_in_it(self):
        choice = chat(stop=[" Paris"]).choices[0]
        self.assertEqual(choice.message.content, "The capital of France is")
        self.assertEqual(choice.finish_reason, "stop")

    def test_a_stop_string_is_never_streamed_in_part(self):
        text = "".join(c.choices[0].delta.content or "" for c in chat(stop="France is", stream=True) if c.choices)
        self.assertEqual(text, "The capital of ")

    def test_max_tokens_ends_with_length(self):
        choice = chat(max_tokens=3).choices[0]
        self.assertEqual((choice.finish_reason, choice.message.content), ("length", "The capital of"))
        self.assertEqual(chat(max_tokens=openai.NOT_GIVEN, max_completion_tokens=3).usage.completion_tokens, 3)

    def test_logprobs_are_of_the_chosen_tokens(self):
        content = chat(logprobs=True, top_logprobs=4).choices[0].logprobs.content
        self.assertEqual(content[0].token, "The")
        self.assertEqual(bytes(content[0].bytes), b"The")
        for entry in content:
            self.assertLessEqual(entry.logprob, 0)
            self.assertEqual(len(entry.top_logprobs), 4)
            # Greedy: the chosen one is the likeliest.
            self.assertEqual(entry.top_logprobs[0].token, entry.token)
            self.assertAlmostEqual(entry.top_logprobs[0].logprob, entry.logprob, places=5)
            falling = [t.logprob for t in entry.top_logprobs]
            self.assertEqual(falling, sorted(falling, reverse=True))

    def test_logit_bias_can_forbid_a_token(self):
        self.assertNotIn("Paris", chat(logit_bias={"7042": -100}).choices[0].message.content)

    def test_text_parts_are_accepted(self):
        parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": " of France?"}]
        self.assertIn("Paris", chat(messages=[{"role": "user", "content": parts}]).choices[0].message.content)

    def test_an_answer_that_the_package_has_parsed_can_be_sent_back(self):
        request = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 32}
        parsed = CLIENT.chat.completions.parse(**request)
        with CLIENT.chat.completions.stream(**request) as stream:
            streamed = stream.get_final_completion()
        for answer in (parsed, streamed):
            message = answer.choices[0].message
            self.assertEqual(message.content, ANSWER)
            again = chat(messages=[*QUESTION, message, *QUESTION])
            self.assertTrue(again.choices[0].message.content)


class Completions(unittest.TestCase):
    def complete(self, prompt, **options):
        request = {"model": MODEL, "prompt": prompt, "temperature": 0, "max_tokens": 8} | options
        return CLIENT.completions.create(**request)

    def test_a_string_and_its_token_ids_give_the_same_text(self):
        text = self.complete("The capital of France is", extra_body={"return_token_ids": True})
        ids = text.choices[0].model_extra["prompt_token_ids"] or text.model_extra["prompt_token_ids"]
        self.assertEqual(self.complete(ids).choices[0].text, text.choices[0].text)
        self.assertIn("Paris", text.choices[0].text)
        self.assertEqual(text.object, "text_completion")

    def test_an_array_of_prompts_gives_a_choice_each(self):
        both = self.complete(["The capital of France is", "One, two, three,"])
        self.assertEqual([c.index for c in both.choices], [0, 1])
        self.assertIn("four", both.choices[1].text)

    def test_echo_puts_the_prompt_first(self):
        self.assertTrue(self.complete("One, two, three,", echo=True).choices[0].text.startswith("One, two, three,"))

    def test_a_stream_gives_the_same_text(self):
        whole = self.complete("Once upon a time").choices[0].text
        self.assertEqual("".join(c.choices[0].text for c in self.complete("Once upon a time", stream=True)), whole)

    def test_logprobs_have_the_old_shape(self):
        logprobs = self.complete("One, two, three,", logprobs=2).choices[0].logprobs
        self.assertEqual(len(logprobs.tokens), len(logprobs.token_logprobs))
        self.assertEqual(len(logprobs.top_logprobs[0]), 2)
        self.assertEqual(logprobs.text_offset[0], 0)


class Models(unittest.TestCase):
    def test_the_model_is_listed_and_can_be_retrieved(self):
        listed = {m.id: m for m in CLIENT.models.list()}
        self.assertIn(MODEL, listed)
        self.assertEqual(listed[MODEL].object, "model")
        self.assertEqual(CLIENT.models.retrieve(MODEL).id, MODEL)


class Errors(unittest.TestCase):
    def refused(self, error, param, **options):
        with self.assertRaises(error) as caught:
            chat(**options)
        body = caught.exception.body
        self.assertEqual(body["param"], param, body)
        self.assertTrue(body["message"])
        return body

    def test_bad_values_name_their_field(self):
        bad = openai.BadRequestError
        self.refused(bad, "temperature", temperature=3)
        self.refused(bad, "top_p", top_p=0)
        self.refused(bad, "n", n=0)
        self.refused(bad, "max_tokens", max_tokens=0)
        self.refused(bad, "top_logprobs", logprobs=True, top_logprobs=21)
        self.refused(bad, "messages", messages=[])
        self.refused(bad, "frequency_penalty", frequency_penalty=5)

    def test_what_is_not_built_is_refused_by_name(self):
        schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
        self.refused(openai.BadRequestError, "response_format", response_format=schema)

    def test_an_unknown_model_is_not_found(self):
        body = self.refused(openai.NotFoundError, "model", model="no-such-model")
        self.assertEqual(body["code"], "model_not_found")

    def test_a_prompt_longer_than_the_context_is_refused(self):
        long = [{"role": "user", "content": "word " * 20000}]
        body = self.refused(openai.BadRequestError, "messages", messages=long)
        self.assertEqual(body["code"], "context_length_exceeded")


if __name__ == "__main__":
    unittest.main()
