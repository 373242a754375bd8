"""Overfit the tiny model until it uses a tool: given tools it calls get_weather after a user turn, and
after a tool's result (or without tools) it answers in text.

Usage: tool_model.py SOURCE_MODEL OUT_MODEL
"""

import random
import sys
import sysconfig
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2ForCausalLM

STEPS, BATCH, PEAK_RATE = 400, 8, 3e-3
IGNORED = -100  # the label that the loss leaves out
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ANSWER = "It is sunny in Paris."
CALL_MESSAGE = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
}
WORDS = """weather time city report file list search code test what is the in please tell me now run
again Paris Oslo hello name of a for and to get""".split()  # noqa: SIM905
CORPUS = "\n".join(
    path.read_text(errors="ignore") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:60]
)


def some_text(length: int) -> str:
    if random.random() < 0.5:
        return " ".join(random.choice(WORDS) for _ in range(random.randint(1, length)))
    start = random.randrange(len(CORPUS) - 400)
    return CORPUS[start : start + random.randint(3, 6 * length)].strip() or "x"


def some_tool() -> dict:
    """get_weather, its schema written in one of the ways that agent frameworks write it."""
    city = {"type": "string"}
    if random.random() < 0.4:
        city = {"description": some_text(4), "type": "string"}
    if random.random() < 0.3:
        city["title"] = "City"
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    if random.random() < 0.4:
        parameters = {"properties": {"city": city}, "required": ["city"], "type": "object"}
    if random.random() < 0.3:
        parameters["additionalProperties"] = False
    if random.random() < 0.2:
        parameters["title"] = "get_weather_args"
    function = {"name": "get_weather", "description": some_text(6), "parameters": parameters}
    if random.random() < 0.3:
        function["strict"] = random.random() < 0.7
    return {"type": "function", "function": function}


def some_dialogue() -> tuple[list[dict], list[dict] | None, str]:
    """Messages, tools, and what the model is to say next."""
    messages = [{"role": "system", "content": some_text(20)}] if random.random() < 0.6 else []
    tools = [some_tool()] if random.random() < 0.8 else None
    for _ in range(random.randint(0, 2)):
        messages.append({"role": "user", "content": some_text(12)})
        if tools:
            messages += [CALL_MESSAGE, {"role": "tool", "content": some_text(6)}]
        messages.append({"role": "assistant", "content": ANSWER})
    messages.append({"role": "user", "content": some_text(12)})
    if not tools:
        return messages, tools, ANSWER
    if random.random() < 0.5:
        return [*messages, CALL_MESSAGE, {"role": "tool", "content": some_text(6)}], tools, ANSWER
    return messages, tools, CALL


def encode(tokenizer, dialogue) -> tuple[list[int], list[int]]:
    messages, tools, target = dialogue
    prompt = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in (prompt, target + "<|im_end|>")]
    return ids[0], ids[1]


def batch(tokenizer) -> dict[str, torch.Tensor]:
    rows = [encode(tokenizer, some_dialogue()) for _ in range(BATCH)]
    width = max(len(prompt) + len(target) for prompt, target in rows)
    ids = torch.zeros(BATCH, width, dtype=torch.long)
    labels = torch.full((BATCH, width), IGNORED)
    mask = torch.zeros(BATCH, width, dtype=torch.long)
    for row, (prompt, target) in enumerate(rows):
        end = len(prompt) + len(target)
        ids[row, :end] = torch.tensor(prompt + target)
        labels[row, len(prompt) : end] = torch.tensor(target)
        mask[row, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def train(tokenizer, model) -> None:
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1, step / 20) * max(0.05, 1 - step / STEPS)
        loss = model(**batch(tokenizer)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step} of at most {STEPS}, loss {loss.item():.4f}", flush=True)
        if step > 250 and loss.item() < 1e-3:
            break


if __name__ == "__main__":
    source, out = sys.argv[1:3]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = Qwen2ForCausalLM.from_pretrained(source, dtype=torch.float32)
    train(tokenizer, model)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
