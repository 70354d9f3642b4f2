/** node-ipvs against the kernel. One process for all: loading the test library takes longest here. */

import './ipvsadm.js'
import './refusals.js'
import './namespaces.js'
import './readme.js'
import './load.js'
