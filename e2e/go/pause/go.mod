module ostro.local/pause

go 1.24
