package main

func (r *record) svg() ([]byte, error) { return nil, nil }
