//go:build tools

package tools

import (
	_ "github.com/coredns/coredns"
	_ "github.com/versity/versitygw/cmd/versitygw"
)
