"""A server around sentence-transformers, for `npm run bench -- serve`: /v1/embeddings with base64, texts of all requests together.

uvicorn without a framework; what waits is encoded in one call, which sorts texts by length and pads them in batches.
"""
import asyncio
import base64
import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error', TOKENIZERS_PARALLELISM='true')

import uvicorn  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402

folder, most, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model = SentenceTransformer(folder, device='cpu')
waiting = asyncio.Queue()


async def work():
    while True:
        jobs = [await waiting.get()]
        while not waiting.empty() and sum(len(texts) for texts, _ in jobs) < most:
            jobs.append(waiting.get_nowait())
        texts = [text for part, _ in jobs for text in part]
        vectors = await asyncio.to_thread(
            model.encode, texts, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False)
        for part, done in jobs:
            done.set_result(vectors[:len(part)])
            vectors = vectors[len(part):]


async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        app.worker = asyncio.create_task(work())
        await receive()
        await send({'type': 'lifespan.startup.complete'})
        await receive()
        return await send({'type': 'lifespan.shutdown.complete'})
    body, more, answer = b'', scope['method'] == 'POST', {'cpu': time.process_time()}
    while more:
        message = await receive()
        body, more = body + message['body'], message.get('more_body', False)
    if body:
        given = json.loads(body)['input']
        done = asyncio.get_running_loop().create_future()
        waiting.put_nowait(([given] if isinstance(given, str) else given, done))
        rows = [base64.b64encode(row.tobytes()).decode() for row in await done]
        answer = {'object': 'list', 'data': [{'index': k, 'embedding': row} for k, row in enumerate(rows)]}
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'application/json')]})
    await send({'type': 'http.response.body', 'body': json.dumps(answer).encode()})


uvicorn.run(app, host='127.0.0.1', port=int(sys.argv[4]), log_level='error', lifespan='on')
