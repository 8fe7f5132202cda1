// What the emulated machine is made of. Only fetched, never built by Go: a module is a repository held to a hash.
module ostro.local/avx512

go 1.21

require (
	github.com/bochs-emu/Bochs v0.0.0-20260906065915-1ffa1abb442c
	github.com/gokrazy/kernel.amd64 v0.0.0-20260705070735-de680abf072b
)
