package transfer

import (
	"path"
	"strings"
)

// mediaTypes are the media types of common extensions. The table of the machine is not used, so that every machine
// stores the same types.
var mediaTypes = map[string]string{
	".avif": "image/avif", ".bin": "application/octet-stream", ".bmp": "image/bmp", ".bz2": "application/x-bzip2", ".css": "text/css; charset=utf-8",
	".csv": "text/csv; charset=utf-8", ".doc": "application/msword", ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".eot": "application/vnd.ms-fontobject", ".epub": "application/epub+zip", ".flac": "audio/flac", ".gif": "image/gif", ".gz": "application/gzip",
	".htm": "text/html; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/vnd.microsoft.icon", ".ics": "text/calendar; charset=utf-8",
	".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".js": "text/javascript; charset=utf-8", ".json": "application/json", ".jsonld": "application/ld+json",
	".log": "text/plain; charset=utf-8", ".md": "text/markdown; charset=utf-8", ".mjs": "text/javascript; charset=utf-8", ".mp3": "audio/mpeg",
	".mp4": "video/mp4", ".mpeg": "video/mpeg", ".ndjson": "application/x-ndjson", ".odp": "application/vnd.oasis.opendocument.presentation",
	".ods": "application/vnd.oasis.opendocument.spreadsheet", ".odt": "application/vnd.oasis.opendocument.text", ".oga": "audio/ogg",
	".ogg": "audio/ogg", ".ogv": "video/ogg", ".otf": "font/otf", ".pdf": "application/pdf", ".png": "image/png",
	".ppt": "application/vnd.ms-powerpoint", ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".rtf": "application/rtf", ".sh": "application/x-sh", ".svg": "image/svg+xml", ".tar": "application/x-tar", ".tif": "image/tiff",
	".tiff": "image/tiff", ".toml": "application/toml", ".tsv": "text/tab-separated-values; charset=utf-8", ".ttf": "font/ttf",
	".txt": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".wav": "audio/wav", ".webm": "video/webm",
	".webmanifest": "application/manifest+json", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
	".xhtml": "application/xhtml+xml", ".xls": "application/vnd.ms-excel", ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".xml": "text/xml; charset=utf-8", ".yaml": "application/yaml", ".yml": "application/yaml", ".zip": "application/zip", ".zst": "application/zstd",
}

// MediaType returns the media type for the extension of a file name; empty for an uncommon extension.
func MediaType(name string) string { return mediaTypes[strings.ToLower(path.Ext(name))] }
