#pragma once

#include <ganglion/actors/protocol/messages.hpp>

#include <caf/type_id.hpp>

#include <vector>

// The one type-id block. On the wire of CAF 0.17 a type goes by its registered name: the names are the ABI, so append
// and never rename. Pass `caf::id_block::ganglion` to `actor_system_config::add_message_types` before the system is
// made where messages leave the process.
CAF_BEGIN_TYPE_ID_BLOCK(ganglion, 20000)
  CAF_ADD_TYPE_ID(ganglion, (ganglion::value_message))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::failure))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::model_reference))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::infer_request))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::infer_response))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::cancel))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::status_query))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::core_status))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::status))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::drain))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::drained))
  CAF_ADD_TYPE_ID(ganglion, (ganglion::model_status))
CAF_END_TYPE_ID_BLOCK(ganglion)
