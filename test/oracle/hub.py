"""What huggingface_hub and sentence-transformers make of the cache: one question, one JSON object on standard output.

hub.py cached NAME      what is in the cache of a model, without a request
hub.py fetch NAME       fetches a model
hub.py embed NAME TEXT …  opens a model by its name, or several: NAME,NAME
"""
import json
import sys
import warnings

warnings.filterwarnings('ignore')


def cached(name):
    from huggingface_hub import scan_cache_dir, snapshot_download
    scan = scan_cache_dir()
    return {
        'folder': snapshot_download(name, local_files_only=True),
        'warnings': [str(warning) for warning in scan.warnings],
        'repositories': {
            f'{repo.repo_type} {repo.repo_id}': {
                'size': repo.size_on_disk,
                'revisions': {revision.commit_hash: sorted(file.file_path.relative_to(revision.snapshot_path).as_posix()
                                                           for file in revision.files) for revision in repo.revisions},
                'refs': {name: revision.commit_hash for name, revision in repo.refs.items()},
            } for repo in scan.repos
        },
    }


def fetch(name):
    from huggingface_hub import snapshot_download
    return {'folder': snapshot_download(name)}


def embed(names, *texts):
    from sentence_transformers import SentenceTransformer
    return {'vectors': [vector for name in names.split(',')
                        for vector in SentenceTransformer(name, device='cpu').encode(list(texts)).tolist()]}


answer = {'cached': cached, 'fetch': fetch, 'embed': embed}[sys.argv[1]](*sys.argv[2:])
print(json.dumps(answer))
